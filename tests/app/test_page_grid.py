"""The grid in a real browser: rows of whole images, few of many cards in the document, keys, a slider, going back."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser import (
    LAPTOP,
    PHONE,
    Site,
    address_of,
    open_page,
    save_screenshot,
    served,
    settle,
    wait_for,
)
from tests.support.page import image_folder
from tests.support.photos import draw_images

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROWS = 350
FILES = ("rocket.jpg", "coffee.png", "chelsea.png", "moon.png", "hubble_deep_field.jpg", "camera.png")
BOXES = """[...document.querySelectorAll('.cards li')].map((item) => {
    const { left, top, width, height } = item.getBoundingClientRect();
    const image = item.querySelector('img');
    return [Number(item.dataset.index), left, top, width, height, image.naturalWidth / image.naturalHeight];
})"""
LAST = "Math.max(...[...document.querySelectorAll('.cards li')].map((item) => Number(item.dataset.index)))"
FOCUSED = "Number(document.activeElement.closest('li')?.dataset.index ?? -1)"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run a page of 350 rows of six images, without columns for their sizes."""
    folder = tmp_path_factory.mktemp("grid")
    rows = [[number, image_folder() / FILES[number % 6], f"label {number}"] for number in range(ROWS)]
    with served(folder, ["id", "path", "label"], rows) as site:
        yield site


def scroll_beyond(page: Page, index: int) -> int:
    """Turn the mouse wheel until a card after this one is in the document; return the most cards that it held."""
    most, end = 0, time.monotonic() + 120
    while page.evaluate(LAST) <= index:
        assert time.monotonic() < end
        page.mouse.move(600, 500)
        page.mouse.wheel(0, 900)
        page.wait_for_timeout(30)
        most = max(most, page.locator(".cards li").count())
    return most


@pytest.mark.parametrize(("size", "highest"), [(LAPTOP, 180), (PHONE, 150)], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_rows_hold_whole_images_from_edge_to_edge(page: Page, site: Site, size: Any, highest: int, scheme: Any) -> None:
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme)
    open_page(page, site, "?q=cat&fold=0")
    settle(page)
    boxes: list[list[float]] = page.evaluate(BOXES)
    assert boxes[0][2] < highest
    for _, _, _, width, height, ratio in boxes:
        assert width / height == pytest.approx(ratio, rel=0.03)
    lefts, rights = {round(box[1]) for box in boxes}, {round(box[1] + box[3]) for box in boxes}
    margin = min(lefts)
    assert margin <= 32
    assert size["width"] - max(rights) <= margin + 1
    tops = sorted({box[2] for box in boxes})
    full = [round(max(box[1] + box[3] for box in boxes if box[2] == top)) for top in tops[:3]]
    assert len(set(full)) == 1
    name = "desktop" if size == LAPTOP else "phone"
    save_screenshot(page, f"{name}-{scheme}-grid")


def test_of_many_cards_few_are_in_the_document(page: Page, site: Site) -> None:
    page.set_viewport_size(LAPTOP)
    open_page(page, site, "?q=cat&fold=0")
    assert scroll_beyond(page, ROWS - 2) < 120
    assert page.inner_text(".status").startswith(f"{ROWS} images")
    assert page.locator("#bar").bounding_box()["y"] == 8  # type: ignore[index]  # the bar stays
    # Images that load change the heights of their rows, which can move the end out of the window again.
    page.wait_for_function(
        f"""rows => {{
            window.scrollTo(0, document.body.scrollHeight);
            const numbers = {BOXES}.map((box) => box[0]);
            return numbers.at(-1) === rows - 1 && numbers.every((number, at) => number === numbers[0] + at);
        }}""",
        arg=ROWS,
    )


def test_arrow_keys_lead_through_the_grid(page: Page, site: Site) -> None:
    page.set_viewport_size(LAPTOP)
    open_page(page, site, "?q=cat&fold=0")
    settle(page)
    page.locator(".cards .image").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(FOCUSED) == 1
    page.keyboard.press("ArrowDown")
    below = page.evaluate(FOCUSED)
    boxes = {int(box[0]): box for box in page.evaluate(BOXES)}
    assert boxes[below][2] > boxes[1][2]
    middle = boxes[1][1] + boxes[1][3] / 2
    assert boxes[below][1] - 200 < middle < boxes[below][1] + boxes[below][3] + 200
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Home")
    assert page.evaluate(FOCUSED) == 0
    for _ in range(12):
        page.keyboard.press("ArrowDown")
    settle(page)
    here = page.evaluate("document.activeElement.getBoundingClientRect().toJSON()")
    assert here["top"] >= 60
    assert here["bottom"] <= 800
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") in ("select", "similar")
    page.locator(".cards .image:focus, .cards :focus").first.press("Shift+Tab")
    reachable = page.evaluate("document.querySelectorAll('.cards [tabindex=\"0\"]').length")
    assert reachable <= 5  # one card


def test_a_slider_sets_the_size_and_is_remembered(page: Page, site: Site) -> None:
    page.set_viewport_size(LAPTOP)
    open_page(page, site, "?q=cat&fold=0")
    settle(page)
    before = page.evaluate(BOXES)[0][4]
    page.locator(".size input").fill("2")
    large = page.evaluate(BOXES)[0][4]
    assert large > 1.5 * before
    open_page(page, site, "?q=moon&fold=0")
    settle(page)
    assert page.evaluate(BOXES)[0][4] > 1.5 * before
    page.locator(".size input").fill("0")


def test_the_count_of_near_duplicates_stays_on_a_slim_card(browser: Browser, tmp_path: Path) -> None:
    drawn = draw_images(tmp_path / "drawn", 3, (30, 200))
    rows = [[100 * number + copy, path] for number, path in enumerate(drawn) for copy in range(20)]
    with served(tmp_path, ["id", "path"], rows) as site:
        page = browser.new_page(locale="en-GB", viewport=PHONE)
        page.add_init_script("localStorage.setItem('size', '-2')")
        open_page(page, site, "?q=cat")
        settle(page)
        card, badge = (page.locator(selector).first.bounding_box() for selector in (".cards li", ".cards .alike"))
        assert card is not None
        assert badge is not None
        assert card["width"] < 40
        assert card["x"] <= badge["x"] <= card["x"] + card["width"] - badge["width"]
        assert page.inner_text(".cards .alike >> nth=0") == "+19"
        page.close()


def test_the_viewer_tells_that_more_follow(page: Page, site: Site) -> None:
    open_page(page, site, "?q=cat&fold=0")
    page.locator(".cards .image").first.click()
    page.wait_for_selector("dialog.lightbox[open]")
    assert re.fullmatch(r"1 of \d\d+\+", page.inner_text("[data-slot=position]"))


def test_back_and_reload_bring_back_what_was_scrolled_to(page: Page, site: Site) -> None:
    page.set_viewport_size(LAPTOP)
    open_page(page, site, "?q=cat&fold=0")
    scroll_beyond(page, 200)
    shown = int(page.inner_text(".status").split()[0])
    page.reload()
    page.wait_for_function("shown => parseInt(document.querySelector('.status')?.textContent) >= shown", arg=shown)
    wait_for(page, "results")
    page.wait_for_function(f"{LAST} > 150")
    assert address_of(page).endswith("?q=cat&fold=0")
