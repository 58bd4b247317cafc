"""Where the first image begins in a real browser: whatever else the page shows, most of the window shows images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

import pytest

from tests.support.browser import LAPTOP, PHONE, Site, open_page, save_screenshot, served, settle
from tests.support.page import IMAGES, image_folder

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HIGHEST = {1280: 180, 390: 150}  # largest top of the first image, by the width of the window
MANY = quote_plus('kind in ["animal", "thing"] and year >= 2001 and taken >= "2019-01-01" and taken < "2024-01-01"')
# By name: the address, and a selector for what the page then shows.
STATES = {
    "start": ("", ".chips a"),
    "search": ("?q=cat", "#header .brief, .status"),
    "filter": ("?filter=" + quote_plus('kind == "thing"'), ".active a"),
    "chips": (f"?q=cat&min=0.01&filter={MANY}", ".active li:nth-child(4) a"),
    "remark": ("?q=Katze", ".remarks:not(:empty)"),
    "offer": ("?q=cat+May+2021", ".offer a"),
    "token": ("?q=id:1", ".tokens a"),
    "parts": ("?q=dark+-people+id:1+0.5*id:2", ".parts li:nth-child(4)"),
    "folded": ("?q=cat&fold=0.9", ".alike:not([hidden])"),
    "all": (f"?q=Katze+Mai+2021+-Hund+id:1&sort=taken&min=0.01&filter={MANY}", ".parts li, .remarks:not(:empty)"),
}
# An indexing job that does not end.
JOB = {
    "source": "/home/ann/Photographs", "is_watched": True, "state": "indexing", "rows": 12_345, "total": 98_765,
    "images_per_second": 55.0, "seconds_left": 1_700, "message": "", "key": "", "values": {},
}  # fmt: skip
FIRST = "document.querySelector('.cards li').getBoundingClientRect().top + scrollY"
# Whether an element can be seen in full, in the window or by scrolling the strip that it is in.
REACHED = """selector => {
    const element = [...document.querySelectorAll(selector)].find((one) => one.checkVisibility());
    element.scrollIntoView({ block: "nearest", inline: "nearest" });
    const { left, right, top, bottom } = element.getBoundingClientRect();
    const seen = document.elementFromPoint(Math.max(left, 0) + 4, (top + bottom) / 2);
    return right - left > 0 && left >= -1 && top >= 0 && element.contains(seen);
}"""

WHOLE = "element => element.scrollWidth <= element.clientWidth && element.scrollHeight <= element.clientHeight"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run a page of photographs with dates, one of them several times."""
    folder = tmp_path_factory.mktemp("layout")
    names = [*IMAGES, *["chelsea.png"] * 4]
    rows = [
        [number, image_folder() / name, IMAGES[name], 2001 + number, ("thing", "animal")[number % 2],
         f"20{19 + number % 4}-05-{1 + number:02d} 12:00"]
        for number, name in enumerate(names)
    ]  # fmt: skip
    with served(folder, ["id", "path", "label", "year", "kind", "taken"], rows) as site:
        yield site


def visit(page: Page, address: str) -> None:
    """Go to another address within the open page, as a link does."""
    page.evaluate("address => { document.querySelector('.brand').dataset.address = address }", address)
    page.evaluate("document.querySelector('.brand').click()")
    page.wait_for_function("!document.body.classList.contains('searching')")


def test_the_first_image_begins_high_whatever_there_is_to_say(page: Page, site: Site) -> None:
    page.route("**/api/indexing", lambda route: route.fulfill(json={"jobs": [JOB], "may_add": True, "add_below": []}))
    open_page(page, site, kind="start")
    page.wait_for_function("document.querySelector('.indexing').textContent.includes('12,345')")
    low, wide, hidden = {}, {}, []
    for state, (address, telling) in STATES.items():
        visit(page, address)
        page.wait_for_selector(telling, state="attached")
        for size in (LAPTOP, PHONE):
            page.set_viewport_size(size)
            settle(page)
            name = f"{'phone' if size == PHONE else 'desktop'}-state-{state}"
            save_screenshot(page, name)
            if (top := page.evaluate(FIRST)) >= HIGHEST[size["width"]]:
                low[name] = top
            if (width := page.evaluate("document.documentElement.scrollWidth")) > size["width"]:
                wide[name] = width
            if not page.evaluate(REACHED, telling):
                hidden.append(name)
    assert (low, wide, hidden) == ({}, {}, [])


@pytest.mark.parametrize("language", ["en", "de", "ru", "ja"])
def test_beside_add_images_a_phone_has_room_for_the_count(browser: Browser, site: Site, language: str) -> None:
    page = browser.new_page(viewport=PHONE, locale=language)  # type: ignore[arg-type]
    for address in ("?q=cat", "?sort=date", "?q=cat&filter=" + quote_plus('kind == "thing"')):
        open_page(page, site, address)
        page.wait_for_selector(".indexing summary")
        assert page.locator("#header .brief").evaluate(WHOLE), address
    save_screenshot(page, f"phone-count-{language}")
    page.close()


def test_the_panel_counts_the_images_of_the_dates_in_the_box(page: Page, site: Site) -> None:
    open_page(page, site, "?q=cat")
    page.click(".toggle")
    counts = page.locator("[data-column=kind] .values small")
    page.wait_for_function("document.querySelector('[data-column=kind] .values small')?.textContent === '8'")
    assert counts.all_inner_texts() == ["8", "8"]
    page.fill("#text input", "cat taken:2019..2020")
    page.press("#text input", "Enter")
    page.wait_for_function("document.querySelector('[data-column=kind] .values small')?.textContent === '4'")
    assert counts.all_inner_texts() == ["4", "4"]
    years = page.locator("[data-column=taken] .tree .row button:not(.opener)")  # all years, to choose another
    assert [year.split() for year in years.all_inner_texts()] == [
        ["2022", "4"], ["2021", "4"], ["2020", "4"], ["2019", "4"],
    ]  # fmt: skip
