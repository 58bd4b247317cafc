"""The page in a real browser: languages, accessibility, light and dark, the keyboard, and bytes transferred."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from app.texts import catalogue
from tests.support.browser import (
    DESKTOP,
    PHONE,
    Site,
    ask,
    card,
    is_foreign,
    open_page,
    save_screenshot,
    wait_for,
    watch,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MAX_WIRE_BYTES, MAX_SEARCH_BYTES = 700_000, 60_000  # of the first load; of a search without its images
MIXED = "?q=a+cat+-0.5*id:102&filter=kind+%3D%3D+%22thing%22"
LOCALES = {
    "en-GB": "en", "de-AT": "de", "es-MX": "es", "fr-FR": "fr", "ja-JP": "ja", "ko-KR": "ko", "ru-RU": "ru",
    "zh-CN": "zh", "zh-SG": "zh", "zh-TW": "zh-TW", "zh-HK": "zh-TW", "zh-Hant": "zh-TW", "it-IT": "en",
}  # fmt: skip


def test_page_is_light_and_asks_nobody_else(browser: Browser, site: Site) -> None:
    context = browser.new_context(viewport=DESKTOP)
    page = context.new_page()
    complaints = watch(page, site)
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    session = context.new_cdp_session(page)
    received: list[float] = []
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    open_page(page, site, kind="start")
    page.wait_for_function("document.querySelectorAll('.cards .loaded').length >= 10")
    weight, images = measure(page, received)
    print(f"{len(received)} requests, {weight / 1000:.0f} kB, of which {images / 1000:.0f} kB are thumbnails")
    assert len(received) > 40
    assert 200_000 < weight < MAX_WIRE_BYTES
    ask(page, "a cat")
    page.wait_for_function("document.querySelectorAll('.cards .loaded').length >= 10")
    both, of_both = measure(page, received)
    print(f"a search: {(both - weight) / 1000:.1f} kB, of which {(of_both - images) / 1000:.1f} kB are thumbnails")
    assert 2_000 < both - weight - (of_both - images) < MAX_SEARCH_BYTES
    assert not [url for url in requested if is_foreign(url, site)]
    assert complaints == []
    context.close()


def measure(page: Page, received: list[float]) -> tuple[float, float]:
    """Wait until the network is quiet; return the bytes received in all, and those of thumbnails."""
    count = -1
    while count != len(received):
        count = len(received)
        page.wait_for_timeout(1000)
    return sum(received), sum(page.evaluate(TRANSFERRED))


TRANSFERRED = """performance.getEntriesByType("resource").filter((entry) => entry.name.includes("/thumb/"))
    .map((entry) => entry.transferSize)"""


@pytest.mark.parametrize(("locale", "language"), LOCALES.items())
def test_browser_chooses_the_language(page: Page, site: Site, locale: str, language: str) -> None:
    page.set_viewport_size(PHONE)
    agent = page.evaluate("navigator.userAgent")
    # Like a new context with this locale, but the browser keeps the scripts that it has fetched.
    page.context.new_cdp_session(page).send(
        "Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": locale}
    )
    open_page(page, site, MIXED)
    assert page.evaluate("navigator.language") == locale
    texts = catalogue()[language]
    assert page.get_attribute("html", "lang") == language
    assert page.get_attribute("#text input", "placeholder") == texts["text_placeholder"]  # set by Gradio
    assert page.inner_text("#go") == texts["search"]
    assert page.inner_text("#header h1") == texts["title"]  # set by the script
    assert page.get_attribute(".cards .similar >> nth=0", "title") == texts["find_similar"]
    assert texts["quoted"].replace("{text}", "a cat") in page.inner_text(".status")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert not re.search(r"undefined|\{(count|shown|query|name)\}|__i18n__", page.inner_text("body"))
    page.click(".toggle")
    save_screenshot(page, f"phone-{locale}")


def scan(page: Page, axe: str) -> list[str]:
    """Return what axe-core finds serious or critical."""
    page.evaluate(axe)
    report: dict[str, Any] = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert len(report["passes"]) > 10
    serious = [found for found in report["violations"] if found["impact"] in ("serious", "critical")]
    return [f"{found['id']}: {node['html'][:200]}" for found in serious for node in found["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_no_barriers(page: Page, site: Site, axe: str, scheme: Any, size: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    open_page(page, site, MIXED)
    page.click(".toggle")
    assert scan(page, axe) == []
    name = "desktop" if size == DESKTOP else "phone"
    save_screenshot(page, f"{name}-{scheme}", full=True)
    page.click(".panel .shut")
    page.locator(".cards .image").first.click()
    page.wait_for_selector("dialog[open]")
    assert scan(page, axe) == []
    if size == DESKTOP:
        open_page(page, site, "?q=cat&filter=year+%3C+1900", kind="nothing")
        assert scan(page, axe) == []


def test_scan_finds_barriers(page: Page, site: Site, axe: str) -> None:
    open_page(page, site, kind="start")
    page.evaluate("document.querySelector('.toggle span').style.color = '#ccc'")
    assert [found.split(":")[0] for found in scan(page, axe)] == ["color-contrast"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast(page: Page, site: Site, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    open_page(page, site, MIXED)
    page.click(".toggle")
    cards = [".over .label", ".over .score", ".over a", ".status", ".foot", ".actions button"]
    above = [
        ".chips a",
        ".about",
        "#go",
        "#image span",
        ".toggle",
        ".count",
        ".parts .name",
        ".weight",
        ".negative .weight",
    ]
    form = [
        ".field legend",
        ".field small",
        ".values span",
        ".values label:has(:checked) span",
        ".values small",
        ".plain",
    ]
    for selector in cards + above + form:
        assert page.locator(selector).first.evaluate(CONTRAST) >= 4.5, selector


CONTRAST = """element => {
    const luminance = (colour) => {
        const channels = colour.match(/[\\d.]+/g).slice(0, 3).map((value) => value / 255);
        const [r, g, b] = channels.map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    let behind = element;
    while (/, 0\\)$|transparent/.test(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
    const pair = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(luminance);
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
}"""


def test_light_and_dark(browser: Browser, site: Site) -> None:
    context = browser.new_context(viewport=DESKTOP, color_scheme="dark")
    page = context.new_page()
    open_page(page, site, kind="start")
    assert brightness(page) < 60
    page.click("#header .theme")
    assert brightness(page) > 200
    page.reload()
    wait_for(page, "start")
    assert brightness(page) > 200  # the choice is remembered
    context.close()


def brightness(page: Page) -> float:
    colour = page.evaluate("getComputedStyle(document.querySelector('.gradio-container')).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


def test_page_works_by_keyboard_alone(page: Page, site: Site) -> None:
    open_page(page, site, kind="start")
    page.keyboard.type("a cat")  # the search box has the focus
    page.keyboard.press("Enter")
    wait_for(page, "results")
    reached: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUSED))
        if reached[-1] == "image visible":  # a card without its file has nothing to enlarge
            break
    assert all(entry.endswith("visible") for entry in reached), reached
    names = [entry.split()[0] for entry in reached]
    assert names[:2] == ["file", "go"]
    assert {"toggle", "copy", "save", "image"} <= set(names)
    here = page.evaluate("[...document.querySelectorAll('.image')].indexOf(document.activeElement)")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog:not([open])", state="attached")
    after = f".cards li:nth-child({here + 2})"
    page.wait_for_selector(f"{after} .image:focus-visible")  # the image at which the lightbox was closed
    for _ in range(3):  # past the button that selects and, if there is one, the badge of near-duplicates
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.similar')"):
            break
    page.wait_for_selector(f"{after} .similar:focus-visible")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".parts li:nth-child(2)")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.matches('#text input')")


# The name of the focused element, and whether it, its parent or its next sibling has a visible outline.
FOCUSED = """() => {
    const element = document.activeElement;
    const missing = element.getAttribute("aria-disabled") ? "missing-" : "";
    const name = missing + (element.type === "file" ? "file" : element.id || element.className.split(" ")[0] || "link");
    const shown = [element, element.parentElement, element.nextElementSibling].filter(Boolean).map(getComputedStyle);
    const visible = shown.some((style) => style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1);
    return `${name} ${visible ? "visible" : "invisible"}`;
}"""


def test_card_is_found_by_name(page: Page, site: Site) -> None:
    """By the roles and names that a screen reader announces."""
    open_page(page, site, "?q=cat")
    for role, name in (
        ("button", "Enlarge rocket"),
        ("link", "Find similar: rocket"),
        ("link", "Use in query: rocket"),
    ):
        assert page.locator(card("rocket")).get_by_role(role, name=name, exact=True).count() == 1  # type: ignore[arg-type]
    assert page.get_by_role("img", name="rocket", exact=True).count() == 1
    assert page.get_by_role("button", name="Download the results as CSV").count() == 1
    assert page.get_by_role("combobox", name="Describe an image").count() == 1
