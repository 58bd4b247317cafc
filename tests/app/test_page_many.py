"""Ten thousand cards in a real browser: the document does not grow after the first thousand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.browser import Site, open_page, served
from tests.support.photos import draw_images

if TYPE_CHECKING:
    from playwright.sync_api import CDPSession, Page

pytestmark = pytest.mark.slow
ROWS, FEW = 10_000, 20
# Scrolls down until this many cards were shown. Returns the largest number of elements that the document had.
SCROLL = """async (wanted) => {
    let most = 0;
    for (let reached = 0; reached < wanted; ) {
        await new Promise(requestAnimationFrame);
        most = Math.max(most, document.querySelectorAll('*').length);
        const shown = [...document.querySelectorAll(".cards li")].map((item) => Number(item.dataset.index));
        reached = 1 + Math.max(...shown);
        scrollBy(0, 1500);
    }
    return most;
}"""

# The first card that does not end above the window.
FIRST = """Math.min(...[...document.querySelectorAll(".cards li")]
    .filter((item) => item.getBoundingClientRect().bottom > 0).map((item) => Number(item.dataset.index)))"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run a page of 10,000 rows of twenty images."""
    folder = tmp_path_factory.mktemp("many")
    images = draw_images(folder / "images", FEW)
    rows = [[number, images[number % FEW], f"label {number}"] for number in range(ROWS)]
    with served(folder, ["id", "path", "label"], rows) as site:
        yield site


def held(session: CDPSession) -> tuple[int, int]:
    """Return the number of DOM nodes, in the document or not, and the bytes of the script's heap."""
    session.send("HeapProfiler.collectGarbage")
    session.send("HeapProfiler.collectGarbage")
    return session.send("Memory.getDOMCounters")["nodes"], session.send("Runtime.getHeapUsage")["usedSize"]


@pytest.mark.timeout(900)
def test_ten_thousand_cards_take_no_more_than_a_thousand(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    page.set_default_timeout(600_000)
    session = page.context.new_cdp_session(page)
    open_page(page, site, "?sort=path&fold=0")
    elements = page.evaluate(SCROLL, 1_000)
    nodes, heap = held(session)
    page.evaluate(SCROLL, 4_000)
    page.wait_for_timeout(1_000)  # the page saves its position shortly after the last scroll
    first = page.evaluate(FIRST)
    page.reload()
    page.wait_for_function(f"(first) => ({FIRST}) === first", arg=first)
    assert page.evaluate(SCROLL, ROWS) <= elements + 200
    nodes_after, heap_after = held(session)
    print(f"nodes {nodes:,} → {nodes_after:,}, heap {heap / 1e6:.1f} → {heap_after / 1e6:.1f} MB")
    assert nodes_after <= nodes + 1_000
    assert heap_after - heap < 1_000 * (ROWS - 1_000)  # for each card its texts and addresses
