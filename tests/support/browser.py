"""A running page, a browser, and functions for what a user does with them."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest

from pipelines.settings import cache_dir
from tests.support.page import ROOT, Collection, environment, insert_apart, make_collection
from tests.support.photos import write_csv
from tests.support.prepared import QUIET, Fork, prepared_page
from tests.support.requirements import require_or_skip

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

# Chromium's sandbox needs rights that root in a container lacks, and /dev/shm there is too small for a browser.
# The two popups of the address bar are pages of their own. They took 0.4 s of the processor for each window, almost as
# much as the page. Chromium takes only one list of features: the others are Playwright's that matter for a local page.
DISABLED = "WebUIOmniboxPopup,WebUIOmniboxAimPopup,PaintHolding,HttpsUpgrades,OptimizationHints,LensOverlay,MediaRouter"
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", f"--disable-features={DISABLED}"]
# Milliseconds that a wait may take. With other tests on the cores, a page that answers in a second took over thirty.
PATIENCE_MS = 120_000
DESKTOP = {"width": 1280, "height": 900}
LAPTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
# Screenshots to look at; CI keeps this folder.
ARTIFACTS = ROOT / "test-artifacts"
AXE = "axe-core@4.14.1"


class Site(NamedTuple):
    """A running `image-search serve`."""

    address: str
    uri: str
    collection: Collection


def start_page(folder: Path, *options: str) -> tuple[Fork, str]:
    """Start the page as a user would and wait for the line with its address; its output goes to `out` and `err`."""
    cache = folder / "cache"
    if not cache.exists():  # all pages share the converted models
        (cache_dir() / "converted").mkdir(parents=True, exist_ok=True)
        cache.mkdir()
        (cache / "converted").symlink_to(cache_dir() / "converted")
    env = environment(**QUIET, IMAGE_SEARCH_CACHE=str(cache))
    program = prepared_page().start(["serve", "--port", "0", *options], ROOT, folder, env)
    end = time.monotonic() + 120
    line = re.compile(r"Search page: (http://127\.0\.0\.1:\d+) \(Ctrl-C stops it\)\n")
    while not (announced := line.match((folder / "out").read_text())):
        assert time.monotonic() < end, (folder / "err").read_text()
        time.sleep(0.05)
    return program, announced[1]


@pytest.fixture
def programs() -> Iterator[list[Fork]]:
    """Return a list for pages that a test starts; they are killed when the test ends."""
    started: list[Fork] = []
    yield started
    for program in started:
        program.send_signal(signal.SIGKILL)
        program.wait()


def stop_page(program: Fork) -> int:
    """Press Ctrl-C; return the exit status."""
    program.send_signal(signal.SIGINT)
    return program.wait(timeout=30)


@contextmanager
def served(folder: Path, columns: list[str], rows: list[list[Any]]) -> Iterator[Site]:
    """Index the rows without columns of image metadata, and run a page on them."""
    uri = str(folder / "images.db")
    insert_apart(write_csv(folder / "images.csv", columns, rows), uri)
    program, address = start_page(folder, "--uri", uri)
    yield Site(address, uri, Collection(folder, folder, {}))
    assert stop_page(program) == 0


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run one page for all tests; it keeps no state between searches."""
    folder = tmp_path_factory.mktemp("page")
    collection = make_collection(tmp_path_factory.getbasetemp())
    uri = collection.copy_to(folder)
    program, address = start_page(folder, "--uri", uri)
    yield Site(address, uri, collection)
    assert stop_page(program) == 0
    assert "Traceback" not in (folder / "err").read_text()


# One browser per module, not per session: while it is open, Playwright's event loop occupies the thread.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the installed Chromium."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or ""
    if importlib.util.find_spec("playwright") is None:
        require_or_skip("REQUIRE_BROWSER", "playwright is not installed")
    if not chromium:
        require_or_skip("REQUIRE_BROWSER", "no browser here: install chromium, or name one by CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        for name in ("new_context", "new_page"):
            setattr(browser, name, patiently(getattr(browser, name)))
        yield browser


def patiently(make: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function that makes a context or page: its waits last longer than Playwright's default of 30 seconds."""

    def made(**options: Any) -> Any:
        window = make(**options)
        window.set_default_timeout(PATIENCE_MS)
        return window

    return made


@pytest.fixture(scope="module")
def context(browser: Browser, site: Site) -> Iterator[BrowserContext]:
    """Return one browser context for a module, so that scripts are fetched once; its language is English."""
    context = browser.new_context(viewport=DESKTOP, locale="en-GB")
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site.address)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, site: Site) -> Iterator[Page]:
    """Return a new window. After each test, check that it made no foreign request and its console has no errors."""
    page = context.new_page()
    complaints = watch(page, site)
    yield page
    assert complaints == []
    for window in context.pages:
        window.close()


def watch(page: Page, site: Site) -> list[str]:
    """Return a list that collects everything that goes wrong in a window."""
    # Chromium reports each missing image, and Gradio reports its event stream when a page is left.
    expected = re.compile("status of 404|AbortError|Connection errored out")
    complaints: list[str] = []

    def add(text: str) -> None:
        if not expected.search(text):
            complaints.append(text)

    page.on("console", lambda message: add(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: add(str(error)))
    page.on("request", lambda request: add(request.url) if is_foreign(request.url, site) else None)
    page.on("dialog", lambda dialog: add(f"dialog: {dialog.message}"))
    return complaints


def is_foreign(url: str, site: Site) -> bool:
    """Tell whether an address is not on the page's server."""
    return urlsplit(url).scheme not in ("data", "blob") and not url.startswith(site.address + "/")


def open_page(page: Page, site: Site, address: str = "", kind: str = "results") -> None:
    """Go to an address and wait for the answer."""
    page.goto(f"{site.address}/{address}")
    wait_for(page, kind)


def wait_for(page: Page, kind: str) -> None:
    """Wait for an answer of this kind. 'networkidle' never comes, because the page's event stream stays open."""
    page.wait_for_selector(f"[data-kind={kind}]")
    page.wait_for_function("!document.body.classList.contains('searching')")


def wait_for_status(page: Page, words: str) -> None:
    """Wait until the status line contains these words."""
    page.wait_for_function("words => document.querySelector('.status').textContent.includes(words)", arg=words)
    page.wait_for_function("!document.body.classList.contains('searching')")


def wait_for_query(page: Page, **wanted: str) -> None:
    """Wait until the address has exactly these parameters and the answer is there."""
    page.wait_for_function(
        "wanted => { const got = Object.fromEntries(new URLSearchParams(location.search));"
        " return Object.keys(got).length === Object.keys(wanted).length"
        " && Object.keys(wanted).every((name) => got[name] === wanted[name]) }",
        arg=wanted,
    )
    page.wait_for_function("!document.body.classList.contains('searching')")


# True once every image is loaded or missing and no card has moved for two frames.
SETTLED = """async () => {
    const cards = () => [...document.querySelectorAll(".cards li")];
    const places = () => cards().map((item) => item.matches(".loaded, .missing") && item.style.cssText);
    const before = places();
    for (const _ of [1, 2]) await new Promise(requestAnimationFrame);
    return before.every(Boolean) && before.join() === places().join();
}"""


def settle(page: Page) -> None:
    """Wait until all images in the document are loaded or missing, and laid out by their sizes."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(SETTLED):  # `wait_for_function` would take the promise itself for true
        assert time.monotonic() < end


def address_of(page: Page) -> str:
    """Return the window's address as its scripts see it: `page.url` lags a moment behind."""
    return str(page.evaluate("location.href"))


def ask(page: Page, text: str) -> None:
    """Type a text and press Enter."""
    page.fill("#text input", text)
    page.press("#text input", "Enter")
    wait_for_status(page, text)


def query_of(page: Page) -> dict[str, list[str]]:
    """Return the parameters of the window's address."""
    return parse_qs(urlsplit(address_of(page)).query)


def labels(page: Page) -> list[str]:
    """Return the captions of the cards."""
    return page.locator(".cards .label").all_inner_texts()


def card(label: str) -> str:
    """Return the selector of a card."""
    return f".cards li:has(.label:text-is('{label}'))"


def save_screenshot(page: Page, name: str, full: bool = False) -> None:
    """Save a screenshot of the window once its images are loaded."""
    page.wait_for_function(
        "[...document.querySelectorAll('.cards li')].slice(0, 4).every((item) => item.matches('.loaded, .missing'))"
    )
    page.wait_for_timeout(250)  # they fade in
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=full)


@pytest.fixture(scope="session")
def axe() -> str:
    """Return the script of axe-core, which finds accessibility barriers; npm fetches it once."""
    kept = ROOT / ".axe_cache" / f"{AXE}.js"
    if not kept.exists():
        npm = shutil.which("npm")
        if npm is None:
            require_or_skip("REQUIRE_BROWSER", f"no npm here, which fetches {AXE}")
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([str(npm), "pack", AXE], cwd=folder, capture_output=True, text=True, timeout=120)
            if done.returncode:
                require_or_skip("REQUIRE_BROWSER", f"npm cannot fetch {AXE}: {done.stderr.strip()[-200:]}")
            with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
                script: Any = archive.extractfile("package/axe.min.js")
                data = script.read()
        kept.parent.mkdir(exist_ok=True)
        aside = kept.with_name(f"{os.getpid()}.part")
        aside.write_bytes(data)
        aside.replace(kept)
    return kept.read_text(encoding="utf-8")
