"""The page in a real browser: one image large, its address, its file, and zoom by wheel, keys and fingers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.browser import (
    PHONE,
    Site,
    address_of,
    card,
    labels,
    open_page,
    save_screenshot,
    settle,
    wait_for,
    wait_for_status,
)
from tests.support.page import HOSTILE_KIND, image_folder

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCALE = "new DOMMatrix(getComputedStyle(document.querySelector('.sheet')).transform).a"
SHOWN = "document.querySelectorAll('.sheet img')[1]"


def enlarge(page: Page, label: str) -> None:
    """Open an image and wait for its preview and its panel."""
    page.click(f"{card(label)} .image")
    page.wait_for_function(f"{SHOWN}.naturalWidth > 0")
    page.wait_for_selector("dialog.lightbox dd")


def wait_closed(page: Page) -> None:
    page.wait_for_selector("dialog:not([open])", state="attached")


def test_arrow_keys_lead_through_the_results_and_end_with_them(page: Page, site: Site) -> None:
    open_page(page, site, "?q=cat&fold=0")
    names = labels(page)
    start = names.index("coffee cup")
    page.click(f"{card('coffee cup')} .image")
    page.wait_for_selector("dialog[open]")
    for key, step in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("ArrowLeft", 0)):
        page.keyboard.press(key)
        assert page.inner_text("dialog strong") == names[start + step]
    page.keyboard.press("Home")
    assert page.inner_text("dialog strong") == names[0]
    assert not page.locator("dialog .previous").is_visible()
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("dialog strong") == names[0]
    page.keyboard.press("End")
    assert "17 of 17" in page.inner_text("dialog .facts")
    assert not page.locator("dialog .next").is_visible()
    page.click("dialog .close")
    wait_closed(page)
    assert page.evaluate("document.activeElement.closest('li').dataset.index") == "16"


def test_panel_tells_what_is_known(page: Page, site: Site) -> None:
    open_page(page, site, "?q=cat")
    enlarge(page, "rocket")
    terms, facts = (page.locator(f"dialog.lightbox {tag}").all_inner_texts() for tag in ("dt", "dd"))
    known = dict(zip((term.lower() for term in terms), facts, strict=True))
    assert known.pop("folder") == str(image_folder())
    assert known.pop("size") == "640 × 427 · 113 kB"
    assert known.pop("file changed")
    assert list(known.values()) == ["2011", HOSTILE_KIND, "no", "no. 11", "12 Jun 2020"]
    assert page.inner_text("dialog .facts strong") == "rocket"
    assert "score" in page.inner_text("dialog .facts")
    assert not page.locator("dialog .folder").is_visible()  # this machine has no screen
    page.click("dialog .path")
    page.wait_for_selector(".toast:not([hidden])")
    assert page.evaluate("navigator.clipboard.readText()") == str(image_folder() / "rocket.jpg")
    with page.expect_download() as download:
        page.click("dialog .download")
    assert download.value.suggested_filename == "rocket.jpg"
    assert Path(download.value.path()).read_bytes() == (image_folder() / "rocket.jpg").read_bytes()
    save_screenshot(page, "desktop-viewer")
    page.click("dialog .info")
    assert not page.locator("dialog .facts").is_visible()
    page.click("dialog .info")
    page.click("dialog .similar")
    wait_for_status(page, "image “rocket”")
    wait_closed(page)
    page.go_back()
    page.wait_for_selector("dialog[open]")
    assert page.inner_text("dialog strong") == "rocket"


def test_an_image_has_an_address(page: Page, site: Site) -> None:
    open_page(page, site, "?q=cat&fold=0")
    enlarge(page, "coins")
    coins = site.collection.ids["coins"]
    assert address_of(page).endswith(f"?q=cat&fold=0#image={coins}")
    page.keyboard.press("ArrowRight")
    assert not address_of(page).endswith(f"#image={coins}")
    page.go_back()
    wait_closed(page)
    assert address_of(page).endswith("?q=cat&fold=0")
    page.go_forward()
    page.wait_for_selector("dialog[open]")
    page.reload()
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    wait_closed(page)
    assert address_of(page).endswith("?q=cat&fold=0")
    assert page.locator(".cards li").count() == 17


def test_an_address_shows_an_image_that_is_not_among_the_results(page: Page, site: Site) -> None:
    ids = site.collection.ids
    open_page(page, site, f"?q=cat&filter=label+%3D%3D+%22coins%22#image={ids['rocket']}")
    page.wait_for_selector("dialog.lightbox dd")
    assert page.inner_text("dialog strong") == "rocket"
    assert not page.locator("dialog .next").is_visible()
    page.keyboard.press("Escape")
    wait_closed(page)
    assert labels(page) == ["coins"]
    open_page(page, site, "#image=999", kind="start")
    page.wait_for_selector("dialog .lost:not([hidden])")


def test_a_file_that_is_gone_is_a_sentence(page: Page, site: Site) -> None:
    open_page(page, site, f"?q=cat#image={site.collection.ids['gone']}")
    page.wait_for_selector("dialog .lost:not([hidden])")
    assert page.inner_text("dialog .lost") == "The file of this image is gone, or it cannot be read."
    page.wait_for_selector("dialog.lightbox dd")
    assert page.inner_text("dialog strong") == "gone"
    assert page.locator(".sheet img[src]").count() == 0
    save_screenshot(page, "desktop-viewer-lost")


def test_wheel_keys_and_double_click_enlarge(page: Page, site: Site) -> None:
    open_page(page, site, "?q=cat")
    enlarge(page, "rocket")
    rocket = site.collection.ids["rocket"]
    assert page.evaluate(f"{SHOWN}.getAttribute('src')").startswith(f"preview/{rocket}")
    page.mouse.move(500, 400)
    page.mouse.wheel(0, -400)
    page.wait_for_function(f"{SCALE} > 1.5")
    page.wait_for_function(f"{SHOWN}.getAttribute('src') === 'image/{rocket}'")  # the original, once it is needed
    before = page.locator(".sheet").bounding_box()
    page.keyboard.press("ArrowRight")
    after = page.locator(".sheet").bounding_box()
    assert before is not None
    assert after is not None
    assert after["x"] < before["x"]
    assert page.inner_text("dialog strong") == "rocket"
    page.keyboard.press("0")
    assert page.evaluate(SCALE) == 1
    page.dblclick(".stage", position={"x": 300, "y": 300})
    assert page.evaluate(SCALE) == 2.5
    page.mouse.move(500, 400)
    page.mouse.down()
    page.mouse.move(420, 400, steps=4)
    page.mouse.up()
    assert page.evaluate(SCALE) == 2.5
    page.keyboard.press("-")
    page.keyboard.press("-")
    page.keyboard.press("-")
    assert page.evaluate(SCALE) == 1


def test_fingers_swipe_and_pinch(browser: Browser, site: Site) -> None:
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True, locale="en-GB")  # type: ignore[arg-type]
    page = context.new_page()
    open_page(page, site, "?q=cat")
    settle(page)
    names = labels(page)
    page.locator(".cards .image").nth(1).tap()
    page.wait_for_selector("dialog[open]")
    assert not page.locator("dialog .facts").is_visible()
    session: Any = context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[int, int]) -> None:
        given = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": given})

    for x, expected in ((60, names[2]), (340, names[1])):
        touch("touchStart", (200, 500))
        touch("touchMove", ((200 + x) // 2, 500))
        touch("touchMove", (x, 500))
        touch("touchEnd")
        page.wait_for_function("wanted => document.querySelector('dialog strong').textContent === wanted", arg=expected)
    touch("touchStart", (180, 500), (220, 500))
    touch("touchMove", (120, 500), (280, 500))
    touch("touchMove", (80, 500), (320, 500))
    touch("touchEnd")
    page.wait_for_function(f"{SCALE} > 2")
    save_screenshot(page, "phone-viewer-zoom")
    context.close()


def test_the_viewer_waits_with_the_thumbnail(page: Page, site: Site) -> None:
    page.route("**/preview/**", lambda route: None)  # no answer yet
    open_page(page, site, "?q=cat")
    wait_for(page, "results")
    page.click(f"{card('rocket')} .image")
    page.wait_for_function("document.querySelector('.sheet img').naturalWidth > 0")
    assert page.locator(".sheet img").first.is_visible()
    page.unroute_all()
