"""The page in a real browser: selecting images by click, keys, a band and a long touch, and downloading them."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.browser import (
    PHONE,
    Site,
    labels,
    open_page,
    save_screenshot,
    settle,
    wait_for_query,
    wait_for_status,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHOSEN = "[...document.querySelectorAll('.cards .picked')].map((item) => Number(item.dataset.index))"


def box_of(page: Page, index: int) -> dict[str, float]:
    box: Any = page.locator(f".cards li[data-index='{index}']").bounding_box()
    return dict(box)


def select(page: Page, index: int) -> None:
    page.hover(f".cards li[data-index='{index}']")
    page.click(f".cards li[data-index='{index}'] .select")


def click(page: Page, index: int, *modifiers: Any) -> None:
    """Click an image in its middle, even if its file is missing."""
    page.click(f".cards li[data-index='{index}'] .image", modifiers=list(modifiers), force=True)


def test_clicks_and_shift_select(page: Page, site: Site) -> None:
    open_page(page, site, "?q=cat&fold=0")
    settle(page)
    assert not page.locator(".selection").is_visible()
    select(page, 1)
    assert page.inner_text(".selection strong") == "1 selected"
    click(page, 3)  # while some are selected, a click selects
    assert page.evaluate(CHOSEN) == [1, 3]
    assert not page.locator("dialog[open]").count()
    click(page, 6, "Shift")
    assert page.evaluate(CHOSEN) == [1, 3, 4, 5, 6]
    click(page, 3)
    assert page.evaluate(CHOSEN) == [1, 4, 5, 6]
    save_screenshot(page, "desktop-selection")
    page.keyboard.press("Escape")
    assert page.evaluate(CHOSEN) == []
    click(page, 2, "ControlOrMeta")
    assert page.evaluate(CHOSEN) == [2]
    page.click(".selection .none")
    assert not page.locator(".selection").is_visible()


def test_keys_select(page: Page, site: Site) -> None:
    open_page(page, site, "?q=cat&fold=0")
    page.locator(".cards .image").first.focus()
    page.keyboard.press("x")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate(CHOSEN) == [0, 1, 2]
    page.keyboard.press("ControlOrMeta+a")
    assert page.inner_text(".selection strong") == "17 selected"
    page.keyboard.press("Escape")
    assert page.evaluate(CHOSEN) == []


def test_a_band_selects_what_it_touches(page: Page, site: Site) -> None:
    open_page(page, site, "?q=cat&fold=0")
    settle(page)
    first, third = box_of(page, 0), box_of(page, 2)
    page.mouse.move(first["x"] + first["width"] / 2, first["y"] + 40)
    page.mouse.down()
    page.mouse.move(third["x"] + 10, third["y"] + 60, steps=5)
    band: Any = page.locator(".band").bounding_box()
    assert band["x"] == first["x"] + first["width"] / 2
    assert band["height"] == 20 + third["y"] - first["y"]
    page.mouse.up()
    assert page.locator(".band").count() == 0
    assert page.evaluate(CHOSEN) == [0, 1, 2]
    assert not page.locator("dialog[open]").count()


def test_selected_images_are_taken_along(page: Page, site: Site) -> None:
    open_page(page, site, "?q=rocket")
    names = labels(page)
    chosen = [names.index("rocket"), names.index("coins")]
    for index in chosen:
        select(page, index)
    with page.expect_download() as download:
        page.click(".selection .zip")
    assert download.value.suggested_filename == "images.zip"
    archive = zipfile.ZipFile(Path(download.value.path()))
    assert sorted(archive.namelist()) == ["coins.png", "rocket.jpg"]
    page.click(".selection [data-take=paths]")
    page.wait_for_selector(".toast:not([hidden])")
    paths = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert sorted(Path(path).name for path in paths) == ["coins.png", "rocket.jpg"]
    with page.expect_download() as download:
        page.click(".selection [data-take=csv]")
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    assert sorted(row["label"] for row in rows) == ["coins", "rocket"]
    with page.expect_download() as download:
        page.click(".selection [data-take=json]")
    assert [hit["rank"] for hit in json.loads(Path(download.value.path()).read_text())] == sorted(i + 1 for i in chosen)
    ids = [site.collection.ids[names[index]] for index in chosen]
    page.click(".selection .likes")
    wait_for_query(page, q=" ".join(f"id:{image_id}" for image_id in ids))
    wait_for_status(page, "image “rocket”")
    assert not page.locator(".selection").is_visible()
    assert not {"rocket", "coins"} & set(labels(page))


def test_images_of_the_start_page_are_taken_along(page: Page, site: Site) -> None:
    open_page(page, site, kind="start")
    select(page, 0)
    with page.expect_download() as download:
        page.click(".selection [data-take=json]")
    (hit,) = json.loads(Path(download.value.path()).read_text())
    assert hit["label"].replace("_", " ") == labels(page)[0]


def test_a_long_touch_selects(browser: Browser, site: Site, axe: str) -> None:
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True, locale="en-GB")  # type: ignore[arg-type]
    page = context.new_page()
    open_page(page, site, "?q=cat&fold=0")
    settle(page)
    box = box_of(page, 1)
    session: Any = context.new_cdp_session(page)
    point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2, "id": 0}
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    page.wait_for_selector(".cards li[data-index='1'].picked")
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.locator(".cards li[data-index='2'] .image").tap(force=True)
    page.wait_for_selector(".cards li[data-index='2'].picked")
    assert page.evaluate(CHOSEN) == [1, 2]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    save_screenshot(page, "phone-selection")
    page.evaluate(axe)
    report: dict[str, Any] = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert not [found["id"] for found in report["violations"] if found["impact"] in ("serious", "critical")]
    context.close()
