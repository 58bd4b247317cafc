"""The page in a real browser: what a person does with it, and what a hostile collection cannot do to them."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import require_or_skip
from page_support import (
    BIG_ID,
    HOSTILE_LABEL,
    HOSTILE_NAME,
    HOSTILE_TEMPLATE,
    INSERT,
    ROOT,
    Collection,
    environment,
    make_collection,
    picture_folder,
    run_program,
    run_python,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# The sandbox needs rights that a container's root does not have, and its /dev/shm is too small for a browser.
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


class Site(NamedTuple):
    """A running `python -m app`."""

    address: str
    uri: str
    collection: Collection


def start_page(folder: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    """Starts the program as a user would and waits for the line that says where it is."""
    with open(folder / "errors.txt", "w") as errors:
        program = subprocess.Popen(
            [sys.executable, "-m", "app", "--port", "0", *options], cwd=ROOT, text=True,
            env=environment(IMAGE_SEARCH_CACHE=str(folder / "cache")), stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    assert program.stdout is not None
    watchdog = threading.Timer(120, program.kill)
    watchdog.start()
    line = program.stdout.readline()
    watchdog.cancel()
    announced = re.fullmatch(r"Search page: (http://127\.0\.0\.1:\d+) \(Ctrl-C stops it\)\n", line)
    assert announced, (line, (folder / "errors.txt").read_text())
    return program, announced[1]


def stop_page(program: subprocess.Popen[str]) -> int:
    program.send_signal(signal.SIGINT)
    return program.wait(timeout=30)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or ""
    if importlib.util.find_spec("playwright") is None:
        require_or_skip("REQUIRE_BROWSER", "playwright is not installed")
    if not chromium:
        require_or_skip("REQUIRE_BROWSER", "no browser here: install chromium, or name one by CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)


@pytest.fixture(scope="module")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("page")
    collection = make_collection(tmp_path_factory.getbasetemp())
    uri = collection.copy_to(folder)
    program, address = start_page(folder, "--uri", uri)
    yield Site(address, uri, collection)
    assert stop_page(program) == 0
    assert "Traceback" not in (folder / "errors.txt").read_text()


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A new window. Whatever a test does: nothing foreign is asked for, and the console stays free of errors."""
    context = browser.new_context(viewport=DESKTOP)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url) if is_foreign(request.url, site) else None)
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    yield page
    # Chromium reports each picture whose file is gone, and Gradio its event stream when a page is left.
    expected = re.compile("status of 404|AbortError|Connection errored out")
    assert [text for text in complaints if not expected.search(text)] == []
    context.close()


def is_foreign(url: str, site: Site) -> bool:
    return urlsplit(url).scheme not in ("data", "blob") and not url.startswith(site.address + "/")


def open_page(page: Page, site: Site, address: str = "", kind: str = "results") -> None:
    page.goto(f"{site.address}/{address}")
    wait_for(page, kind)


def wait_for(page: Page, kind: str) -> None:
    """Waits for an answer of that kind; 'networkidle' never comes, for the page's event stream stays open."""
    page.wait_for_selector(f"[data-kind={kind}]", timeout=30_000)
    page.wait_for_function("!document.body.classList.contains('searching')")


def ask(page: Page, text: str) -> None:
    page.fill("#text input", text)
    page.press("#text input", "Enter")
    page.wait_for_function("text => document.querySelector('.status').textContent.includes(text)", arg=text)


def labels(page: Page) -> list[str]:
    return page.locator(".cards .label").all_inner_texts()


def card(label: str) -> str:
    return f".cards li:has(.label:text-is('{label}'))"


def test_enter_searches_and_shows_thumbnails(page: Page, site: Site) -> None:
    open_page(page, site, kind="start")
    ask(page, "a cat")
    assert re.fullmatch(r"17 of 17 pictures for “a cat” · \d+ ms", page.inner_text(".status"))
    assert page.title() == "a cat – Image search"
    page.wait_for_function("document.querySelectorAll('.cards img').length === 17")
    page.wait_for_function("document.querySelectorAll('.cards .loaded, .cards .missing').length >= 10")
    widths = page.locator(".cards .loaded img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert len(widths) >= 8
    assert set(widths) == {320}
    assert all(re.fullmatch(r"-?\d\.\d{3}", score) for score in page.locator(".cards .score").all_inner_texts())
    assert all(image.get_attribute("alt") for image in page.locator(".cards img").all())


def test_start_page_says_what_it_is(page: Page, site: Site) -> None:
    open_page(page, site, kind="start")
    assert "17 pictures" in page.inner_text("#header")
    assert re.search(r"“builtin” is a small demo model.*--model clip_vit_base_patch32", page.inner_text(".notice"))
    assert page.locator(".cards li").count() == 17
    chip = page.locator(".chips a").first
    words = chip.inner_text()
    chip.click()
    wait_for(page, "results")
    assert page.input_value("#text input") == words


def test_permalink_brings_the_same_search_in_a_new_tab(page: Page, site: Site) -> None:
    open_page(page, site, kind="start")
    ask(page, 'wheels & a "seat" = 100%')
    pick(page, "#limit", "12")
    page.wait_for_function("document.querySelectorAll('.cards li').length === 12")
    query = parse_qs(urlsplit(page.url).query)
    assert query == {"q": ['wheels & a "seat" = 100%'], "k": ["12"]}
    other = page.context.new_page()
    other.goto(page.url)
    wait_for(other, "results")
    assert labels(other) == labels(page)
    assert other.input_value("#text input") == 'wheels & a "seat" = 100%'
    assert other.url == page.url


def test_back_button(page: Page, site: Site) -> None:
    open_page(page, site, kind="start")
    ask(page, "first words")
    ask(page, "second words")
    page.go_back()
    page.wait_for_function("document.querySelector('.status').textContent.includes('first words')")
    assert page.input_value("#text input") == "first words"
    page.go_back()
    wait_for(page, "start")
    page.go_forward()
    wait_for(page, "results")
    assert "first words" in page.inner_text(".status")


def test_find_similar_leaves_the_picture_itself_out(page: Page, site: Site) -> None:
    open_page(page, site, "?q=cat")
    page.click(f"{card('cat')} .similar")
    page.wait_for_function("document.querySelector('.status').textContent.includes('like “cat”')")
    assert parse_qs(urlsplit(page.url).query) == {"like": [str(site.collection.ids["cat"])]}
    found = labels(page)
    assert len(found) == 16
    assert "cat" not in found
    assert found[0] in ("gone", "svg", "bmp", HOSTILE_LABEL, HOSTILE_TEMPLATE)  # all made from the cat's picture
    page.reload()
    wait_for(page, "results")
    assert labels(page) == found


def test_id_beyond_53_bits_survives_the_browser(page: Page, site: Site) -> None:
    open_page(page, site, f"?like={BIG_ID}")
    assert str(BIG_ID) in page.url
    assert HOSTILE_TEMPLATE not in labels(page)
    assert len(labels(page)) == 16


def test_picture_finds_itself(page: Page, site: Site) -> None:
    open_page(page, site, "?q=anything")
    page.set_input_files("#picture input[type=file]", picture_folder() / "coffee.png")
    page.wait_for_function("document.querySelector('.status').textContent.includes('like yours')")
    assert labels(page)[0] == "coffee cup"
    assert float(page.locator(".cards .score").first.inner_text()) > 0.999
    assert page.input_value("#text input") == ""
    page.go_back()
    page.wait_for_function("document.querySelector('.status').textContent.includes('anything')")


def test_picture_pasted_anywhere(page: Page, site: Site) -> None:
    open_page(page, site, "?q=anything")
    picture = list((picture_folder() / "rocket.jpg").read_bytes())
    for _ in range(2):  # the second time there is a picture in the box already
        page.evaluate(
            """bytes => {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(bytes)], "rocket.jpg", {type: "image/jpeg"}));
                document.body.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));
            }""",
            picture,
        )
        page.wait_for_function("document.querySelector('.cards .label').textContent === 'rocket'")
        assert "like yours" in page.inner_text(".status")
        ask(page, "something else")


def test_label_filter(page: Page, site: Site) -> None:
    open_page(page, site, "?q=ground")
    pick(page, "#label", "texture")
    page.wait_for_function("document.querySelectorAll('.cards li').length === 3")
    assert labels(page) == ["texture"] * 3
    assert "labelled “texture”" in page.inner_text(".status")
    assert parse_qs(urlsplit(page.url).query)["label"] == ["texture"]
    page.reload()
    wait_for(page, "results")
    assert labels(page) == ["texture"] * 3


def test_label_nobody_has(page: Page, site: Site) -> None:
    open_page(page, site, "?q=ground&label=%22%20or%20id%20%3E%200%20or%20label%20%3D%3D%20%22", kind="nothing")
    assert "No pictures for “ground”" in page.inner_text(".message")
    ask_again = page.locator(".chips a").first
    ask_again.click()
    wait_for(page, "results")


def pick(page: Page, box: str, choice: str) -> None:
    page.click(f"{box} input")
    page.click(f"[role=option]:has-text('{choice}')")


def test_lightbox(page: Page, site: Site) -> None:
    open_page(page, site, "?q=cat")
    names = labels(page)
    start = names.index("coffee cup")
    page.click(f"{card('coffee cup')} .picture")
    page.wait_for_selector("dialog[open]")
    for key, step in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("ArrowLeft", 0), ("ArrowLeft", -1)):
        page.keyboard.press(key)
        assert page.inner_text("dialog strong") == names[(start + step) % len(names)]
    page.click("dialog .close")
    page.click(f"{card('rocket')} .picture")
    page.wait_for_function("document.querySelector('dialog img').naturalWidth === 640")  # the picture itself
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog:not([open])", state="attached")
    page.click(f"{card('coins')} .picture")
    page.click("dialog .similar")
    page.wait_for_function("document.querySelector('.status').textContent.includes('like “coins”')")


def test_unreadable_upload_is_explained(page: Page, site: Site, tmp_path: Path) -> None:
    open_page(page, site, kind="start")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing of use")
    page.set_input_files("#picture input[type=file]", tmp_path / "broken.png")
    wait_for(page, "error")
    message = page.inner_text(".message h2")
    assert message.startswith("The picture cannot be searched for:")
    assert "/" not in message
    assert "Traceback" not in page.content()


def test_unknown_like_is_explained(page: Page, site: Site) -> None:
    open_page(page, site, "?like=999", kind="error")
    assert "has no picture with id 999" in page.inner_text(".message")


def test_hostile_label_and_name_are_text(page: Page, site: Site) -> None:
    open_page(page, site, "?q=cat")
    assert HOSTILE_LABEL in labels(page)
    assert HOSTILE_TEMPLATE in labels(page)
    for label in (HOSTILE_LABEL, HOSTILE_TEMPLATE):
        page.locator(".cards li").nth(labels(page).index(label)).locator(".picture").click()
        assert page.inner_text("dialog strong") == label
        page.keyboard.press("Escape")
    assert page.locator(".cards .label").nth(labels(page).index(HOSTILE_LABEL)).get_attribute("title") == HOSTILE_NAME
    open_page(page, site, "?like=-5")
    assert f"like “{HOSTILE_LABEL}”" in page.inner_text(".status")
    open_page(page, site, "?q=%3Cimg+src%3Dx+onerror%3Ddocument.body.dataset.pwned%3D3%3E+%24%7Balert(1)%7D")
    page.click("#label input")
    page.wait_for_timeout(300)
    assert page.evaluate("[document.body.dataset.pwned, document.body.getAttribute('x')]") == [None, None]
    assert page.locator("img[src=x]").count() == 0


def test_picture_whose_file_is_gone(page: Page, site: Site) -> None:
    open_page(page, site, "?q=cat&label=gone")
    page.wait_for_selector(".cards .missing")
    assert page.inner_text(".cards .gone") == "file not found"


def test_light_and_dark(page: Page, site: Site) -> None:
    page.emulate_media(color_scheme="dark")
    open_page(page, site, kind="start")
    assert brightness(page) < 60
    page.click("#header .theme")
    assert brightness(page) > 200
    page.reload()
    wait_for(page, "start")
    assert brightness(page) > 200  # the choice is remembered


def brightness(page: Page) -> float:
    colour = page.evaluate("getComputedStyle(document.querySelector('.gradio-container')).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast(page: Page, site: Site, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    open_page(page, site, "?q=cat")
    cards = [".label", ".score", ".similar"]
    around = [".status", ".notice", ".chips a", ".about", "#go", "#filters span"]
    for selector in cards + around:
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


def test_phone(page: Page, site: Site) -> None:
    page.set_viewport_size(PHONE)
    addresses = {"": "start", "?q=cat": "results", "?q=" + "wide" * 60: "results", "?q=cat&label=none": "nothing"}
    for address, kind in addresses.items():
        open_page(page, site, address, kind)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.locator("#picture").is_visible()


def test_page_works_by_keyboard_alone(page: Page, site: Site) -> None:
    open_page(page, site, "?q=cat")
    page.locator(f"{card('rocket')} .picture").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog:not([open])", state="attached")
    page.wait_for_selector(".picture:focus-visible")
    assert page.locator(".picture:focus").evaluate("button => getComputedStyle(button).outlineStyle") == "solid"
    page.keyboard.press("Tab")
    page.wait_for_selector("a.similar:focus-visible")


def test_nothing_moves_when_the_answer_comes(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/?q=cat")
    page.wait_for_selector("#results .cards")
    tops = "['#bar', '.cards'].map(s => Math.round(document.querySelector(s).getBoundingClientRect().top))"
    before = page.evaluate(tops)
    wait_for(page, "results")
    assert page.evaluate(tops) == before


def test_without_a_collection_the_page_says_how_to_make_one(browser: Browser, tmp_path: Path) -> None:
    """And takes it up as soon as it is there: the page holds no lock on a file that does not exist."""
    uri = tmp_path / "new.db"
    program, address = start_page(tmp_path, "--uri", str(uri))
    page = browser.new_page()
    page.goto(address)
    wait_for(page, "unfilled")
    assert page.inner_text(".message code") == f"python -m pipelines insert photos/ --uri {uri}"
    assert not uri.exists()
    (tmp_path / "new.csv").write_text(f"path,label\n{picture_folder() / 'rocket.jpg'},rocket\n")
    run_python("-c", INSERT, str(tmp_path / "new.csv"), str(uri))
    page.reload()
    wait_for(page, "start")
    assert "1 picture" in page.inner_text("#header")
    page.close()
    assert stop_page(program) == 0


def test_second_page_on_the_same_file_is_refused_in_one_line(site: Site) -> None:
    done = run_program("-m", "app", "--port", "0", "--uri", site.uri)
    assert done.returncode == 3
    assert re.fullmatch(r"error: .* is open in another process .*\n", done.stderr)
