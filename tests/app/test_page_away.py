"""The page in a real browser while its process answers and its database does not."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvicorn

from app.application import build_app
from app.library import Library
from app.media import Thumbnails
from app.server import listen
from pipelines import Settings, run_insert
from tests.support.browser import Site, labels, open_page, save_screenshot, start_page, wait_for, wait_for_query
from tests.support.photos import Photos
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.support.prepared import Fork

pytestmark = pytest.mark.long
# Counts how often the line above the images appears or disappears.
BLINKS = """() => {
    window.blinks = 0;
    const line = document.querySelector(".lost-server");
    new MutationObserver(() => window.blinks++).observe(line, { attributeFilter: ["hidden"] });
}"""


def leave_and_come_back(page: Page, leave: Callable[[], object], come_back: Callable[[], object], said: str) -> None:
    """Search and type while the database is away: the search is answered later, and the typed text is kept."""
    page.evaluate("window.stayed = true")
    before = labels(page)
    leave()
    page.wait_for_selector(".lost-server:not([hidden])")
    assert page.inner_text(".lost-server").startswith(said)
    page.fill("#text input", "a rocket")
    with page.expect_request("**/queue/join**"):
        page.press("#text input", "Enter")
    page.wait_for_function("!document.body.classList.contains('searching')")
    assert labels(page) == before  # they stay
    page.fill("#text input", "a rocket at night")
    save_screenshot(page, f"desktop-away-{said[4:9]}")
    come_back()
    wait_for_query(page, q="a rocket")
    wait_for(page, "results")
    page.wait_for_selector(".lost-server", state="hidden")
    assert page.input_value("#text input") == "a rocket at night"
    assert page.evaluate("window.stayed")  # without a reload


def test_a_file_that_is_moved_away_and_back(browser: Browser, site: Site, tmp_path: Path, programs: list[Fork]) -> None:
    uri = site.collection.copy_to(tmp_path)
    program, address = start_page(tmp_path, "--uri", uri)
    programs.append(program)
    page = browser.new_page(locale="de-DE")
    open_page(page, Site(address, uri, site.collection), "?q=cat")
    leave_and_come_back(
        page,
        lambda: shutil.move(uri, tmp_path / "away"),
        lambda: shutil.move(tmp_path / "away", uri),
        "Die Sammlung ist nicht mehr da.",
    )
    page.close()


@contextmanager
def in_this_process(library: Library, folder: Path) -> Iterator[str]:
    """Run the page in a thread; yield its address."""
    listener = listen("127.0.0.1", 0)
    app = build_app(library, thumbnails=Thumbnails(folder))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=[[listener]], daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def test_a_server_that_still_sends_the_columns(
    browser: Browser, milvus_server: str, held_up: threading.Event, photos: Photos, tmp_path: Path
) -> None:
    """A request that needs the columns is answered when they have come; until then the page says how far they are."""
    settings = Settings(uri=milvus_server, collection=f"t_{uuid.uuid4().hex[:12]}", model="builtin")
    run_insert(photos.csv, settings)
    with in_this_process(Library(settings), tmp_path) as address:
        page = browser.new_page(locale="en-GB")
        page.goto(f"{address}/?q=a+dog&fold=0")  # needs no columns
        wait_for(page, "results")
        before = labels(page)
        page.select_option(".order select", "path")
        page.wait_for_selector(".lost-server:not([hidden])")
        assert "sorted and counted by: 3 of 9." in page.inner_text(".lost-server")
        page.evaluate(BLINKS)
        for _ in range(2):  # the page asks again by itself
            with page.expect_response("**/queue/join**"):
                pass
        assert (page.evaluate("window.blinks"), labels(page)) == (0, before)
        save_screenshot(page, "desktop-columns")
        held_up.set()
        wait_for_query(page, q="a dog", fold="0", sort="path")
        page.wait_for_selector(".lost-server", state="hidden")
        assert labels(page) == [f"label{number % 3}" for number in range(12)]
        page.close()


@pytest.mark.parametrize("leave", [TcpProxy.close, pytest.param(TcpProxy.hang, marks=pytest.mark.slow)])
def test_a_server_that_is_gone_and_back(
    browser: Browser,
    milvus_server: str,
    proxy: TcpProxy,
    photos: Photos,
    tmp_path: Path,
    programs: list[Fork],
    leave: Callable[[TcpProxy], None],
) -> None:
    name = f"t_{uuid.uuid4().hex[:12]}"
    run_insert(photos.csv, Settings(uri=milvus_server, collection=name, model="builtin"))
    uri = f"http://127.0.0.1:{proxy.port}"
    program, address = start_page(tmp_path, "--uri", uri, "--collection", name)
    programs.append(program)
    page = browser.new_page(locale="de-DE")
    page.goto(f"{address}/?q=cat")
    wait_for(page, "results")
    leave_and_come_back(page, lambda: leave(proxy), proxy.open, "Die Datenbank antwortet nicht.")
    leave(proxy)
    page.goto(f"{address}/?q=dog")  # opened while the server is away
    wait_for(page, "error")
    assert page.inner_text(".message h2").startswith("Die Datenbank antwortet nicht.")
    proxy.open()
    wait_for(page, "results")
    assert page.input_value("#text input") == "dog"
    page.close()
