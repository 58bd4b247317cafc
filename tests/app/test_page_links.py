"""Addresses in a real browser: images at an address of the web, and dates in the address of the page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from tests.support.browser import Site, ask, labels, open_page, query_of, served, start_page, wait_for, wait_for_status
from tests.support.page import image_folder
from tests.support.web_server import WebServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.support.prepared import Fork


def test_search_by_an_address_outlasts_a_reload_back_and_the_kept_image(
    browser: Browser, site: Site, tmp_path: Path, programs: list[Fork]
) -> None:
    name = "coins.png"
    with WebServer() as web:
        web.files[name] = (image_folder() / name).read_bytes()
        image = f"{web.url}/files/{name}"
        program, address = start_page(tmp_path, "--uri", site.collection.copy_to(tmp_path), "--allow-private-urls")
        programs.append(program)
        page = browser.new_page(locale="en-GB")
        open_page(page, Site(address, "", site.collection), "?" + urlencode({"q": f"a photo {image}"}))
        wait_for_status(page, f"“a photo” + image “{name}”")
        assert query_of(page) == {"q": ["a photo"], "image": [image]}
        assert (page.input_value("#text input"), labels(page)[0]) == ("a photo", "coins")
        page.click(".cards .similar >> nth=1", force=True)
        wait_for_status(page, "for image")
        page.go_back()
        wait_for_status(page, f"“a photo” + image “{name}”")
        assert web.requests.total() == 1  # the page keeps the image
        for kept in (tmp_path / "cache" / "query_images").iterdir():
            kept.unlink()
        page.reload()
        wait_for(page, "results")
        wait_for_status(page, f"“a photo” + image “{name}”")
        assert labels(page)[0] == "coins"
        web.files.clear()
        page.fill("#text input", f"{web.url}/files/other.png")
        page.press("#text input", "Enter")
        page.wait_for_selector(".said .mistake:has-text('There is no image at this address.')")
        page.goto(f"{address}/?" + urlencode({"q": f"{web.url}/files/other.png"}))
        page.wait_for_selector(".message:has-text('There is no image at this address.')")
        ask(page, "a rocket")
        assert query_of(page) == {"q": ["a rocket"]}
        page.close()


def test_dates_of_a_query_are_named(browser: Browser, tmp_path: Path, programs: list[Fork]) -> None:
    rows = [[name, day] for name, day in (("coins.png", "2021-05-01"), ("moon.png", "2022-05-01"))]
    with served(tmp_path, ["path", "taken"], [[str(image_folder() / name), day] for name, day in rows]) as site:
        page = browser.new_page(locale="en-GB")
        open_page(page, site, "?q=coins+taken:2021-05")
        assert page.inner_text(".status") == "1 of 2 images for “coins” · Taken: 2021-05"
        open_page(page, site, "?q=coins+-taken:2021..2022", kind="nothing")
        assert page.inner_text(".message h2") == "No images for “coins” · − Taken: 2021..2022"
        page.close()
