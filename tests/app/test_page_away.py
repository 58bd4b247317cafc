"""The page in a real browser while its process answers and its database does not."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipelines import Settings, run_insert
from tests.support.browser import Site, labels, open_page, save_screenshot, start_page, wait_for, wait_for_query
from tests.support.photos import Photos
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.long


def leave_and_come_back(page: Page, leave: Callable[[], object], come_back: Callable[[], object], said: str) -> None:
    """Ask and type while the database is away; what was asked is answered later, what was typed is kept."""
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


def test_a_file_that_is_moved_away_and_back(
    browser: Browser, site: Site, tmp_path: Path, programs: list[subprocess.Popen[str]]
) -> None:
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


@pytest.mark.parametrize("leave", [TcpProxy.close, pytest.param(TcpProxy.hang, marks=pytest.mark.slow)])
def test_a_server_that_is_gone_and_back(
    browser: Browser,
    milvus_server: str,
    proxy: TcpProxy,
    photos: Photos,
    tmp_path: Path,
    programs: list[subprocess.Popen[str]],
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
    page.goto(f"{address}/?q=dog")  # opened while it is away
    wait_for(page, "error")
    assert page.inner_text(".message h2").startswith("Die Datenbank antwortet nicht.")
    proxy.open()
    wait_for(page, "results")
    assert page.input_value("#text input") == "dog"
    page.close()
