"""Messages about refusals, and the names of columns, in the reader's language in a real browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from app.bodies import MAX_UPLOAD_BYTES
from app.texts import catalogue
from tests.support.browser import Site, ask, open_page, save_screenshot, start_page, stop_page
from tests.support.page import Collection, image_folder, insert_apart

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

GERMAN = catalogue()["de"]
TOAST = "text => document.querySelector('.toast:not([hidden])')?.textContent === text"
COLUMNS = "id,path,label,taken,camera,rating,keywords,width,height,ISO value"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run a page that answers three searches a second, on a desktop whose opener of folders fails."""
    folder = tmp_path_factory.mktemp("refusals")
    files = ("rocket.jpg", "coffee.png", "chelsea.png", "moon.png")
    rows = [
        f"{number},{image_folder() / name},{name[:4]},2021-05-0{number + 1},Box {number},{number},"
        f"sky; night,640,480,{number}"
        for number, name in enumerate(files)
    ]
    (folder / "images.csv").write_text("\n".join([COLUMNS, *rows]))
    uri = str(folder / "images.db")
    insert_apart(folder / "images.csv", uri)
    opener = folder / "xdg-open"
    opener.write_text("#!/bin/sh\nexit 3\n")
    opener.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(folder), prepend=":")
        patch.setenv("DISPLAY", ":0")
        program, address = start_page(folder, "--uri", uri, "--rate-limit", "3")
    yield Site(address, uri, Collection(folder, folder, {}))
    assert stop_page(program) == 0


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """Return a German reader's window."""
    page = browser.new_page(locale="de-DE")
    open_page(page, site, "?q=cat")
    yield page
    page.close()


def test_too_many_requests_are_said_and_the_question_is_asked_again(page: Page, site: Site) -> None:
    enough = threading.Event()

    def ask_on() -> None:
        with httpx.Client() as client:  # a new client for each request would keep a core busy
            while not enough.wait(0.02):
                client.post(f"{site.address}/gradio_api/queue/join")

    others = [threading.Thread(target=ask_on) for _ in range(4)]
    for other in others:
        other.start()
    try:
        page.fill("#text input", "ein Hund")
        while not page.evaluate(TOAST, GERMAN["error_too_often"]):  # a search may slip through
            page.press("#text input", "Enter")
            page.wait_for_timeout(300)
    finally:
        enough.set()
    save_screenshot(page, "desktop-too-often")
    page.wait_for_function("document.querySelector('.status').textContent.includes('ein Hund')")
    assert page.input_value("#text input") == "ein Hund"


def test_an_upload_that_is_too_large_is_said(page: Page, tmp_path: Path) -> None:
    # As large as an image may be; with the form around it, it is too large for the server.
    (tmp_path / "large.png").write_bytes(bytes(MAX_UPLOAD_BYTES))
    page.set_input_files("#image input", tmp_path / "large.png")
    page.wait_for_function(TOAST, arg=GERMAN["too_large"].replace("{size}", "25"))
    ask(page, "Katze")


def test_a_folder_that_does_not_open_is_said(page: Page) -> None:
    page.locator(".cards .image").first.click()
    page.click("dialog .folder")
    page.wait_for_function(TOAST, arg=GERMAN["folder_failed"])
    assert page.evaluate("document.elementFromPoint(innerWidth / 2, innerHeight - 104).matches('.toast')")


def test_columns_have_names_in_the_readers_language(page: Page) -> None:
    page.locator(".cards .image").first.click()
    page.wait_for_selector("dialog.lightbox dd")
    terms = page.locator("dialog.lightbox dt").all_inner_texts()
    assert {"Aufgenommen", "Kamera", "Bewertung", "Stichwörter", "ISO value"} <= set(terms)
    page.keyboard.press("Escape")
    orders = page.locator(".order option").all_inner_texts()
    assert {"Aufgenommen", "Kamera", "Breite", "ISO value"} <= set(orders)
    page.click(".toggle")
    legends = page.locator(".panel legend").all_inner_texts()
    assert {"Beschriftung", "Aufgenommen", "Kamera", "Breite", "Höhe", "ISO value"} <= set(legends)
    days = page.locator("[data-column=taken] .day span")
    assert days.all_inner_texts() == ["von", "bis"]
    page.fill("[data-column=taken] .low", "2021-05-02")
    page.wait_for_selector(".active a span:has-text('≥')")
    page.evaluate("document.activeElement.blur()")
    assert days.first.inner_text() == "02.05.2021"
    page.click(".toggle")
    assert page.inner_text(".active a span") == "Aufgenommen ≥ 02.05.2021"
