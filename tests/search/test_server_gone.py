"""A Milvus server that goes away: a search reports it within seconds, and the first one after its return works."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace

import pytest

from pipelines import Searcher, Settings, run_insert
from pipelines.errors import StoreUnavailable
from pipelines.milvus.collection import Collection
from tests.support.photos import Photos
from tests.support.tcp_proxy import TcpProxy

AT_MOST = 8.0  # seconds: about two when no other tests share the cores; gRPC itself would wait for 15 and more


@pytest.fixture(scope="module")
def stored(milvus_server: str, module_photos: Photos) -> Settings:
    """Return the settings of a collection on the server."""
    settings = Settings(uri=milvus_server, collection=f"t_{uuid.uuid4().hex[:12]}", model="builtin")
    run_insert(module_photos.csv, settings)
    return settings


@pytest.fixture
def settings(stored: Settings, proxy: TcpProxy) -> Settings:
    """Return the same settings, through the proxy."""
    return replace(stored, uri=f"http://127.0.0.1:{proxy.port}")


def seconds_until_it_is_unavailable(ask: Callable[[], object]) -> float:
    start = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"^Milvus does not answer; try again in a moment$"):
        ask()
    return time.monotonic() - start


@pytest.mark.parametrize("wait", [0.0, 1.5])  # before and after the last check of the server is too old
@pytest.mark.parametrize("leave", [TcpProxy.close, TcpProxy.hang])
def test_a_server_that_is_gone_is_told_within_seconds(
    settings: Settings, proxy: TcpProxy, leave: Callable[[TcpProxy], None], wait: float
) -> None:
    searcher = Searcher(settings)
    searcher.by_text("a dog")
    leave(proxy)
    time.sleep(wait)
    questions: tuple[Callable[[], object], ...] = (
        lambda: searcher.by_text("a dog"), lambda: searcher.similar_to(3), lambda: searcher.get(3), searcher.info,
        lambda: searcher.field_names, searcher.probe,
    )  # fmt: skip
    for ask in questions:
        assert seconds_until_it_is_unavailable(ask) < AT_MOST
    proxy.open()
    assert searcher.by_text("a dog", 12).hits


def test_many_that_ask_a_server_that_is_gone_are_told_as_soon(settings: Settings, proxy: TcpProxy) -> None:
    searcher = Searcher(settings)
    searcher.by_text("a dog")
    proxy.hang()
    time.sleep(1.5)
    seconds: list[float] = []
    threads = [
        threading.Thread(target=lambda: seconds.append(seconds_until_it_is_unavailable(lambda: searcher.by_text("a"))))
        for _ in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seconds) == 40
    assert max(seconds) < AT_MOST
    proxy.open()
    assert searcher.by_text("a dog").hits


@pytest.mark.slow
def test_a_connection_that_breaks_while_the_server_is_silent_costs_seconds_too(
    settings: Settings, proxy: TcpProxy
) -> None:
    searcher = Searcher(settings)
    searcher.by_text("a dog")
    proxy.hang()
    for _ in range(8):  # after 15 s gRPC gives up the connection and makes new ones
        time.sleep(3)
        assert seconds_until_it_is_unavailable(lambda: searcher.by_text("a dog")) < AT_MOST
    proxy.open()
    assert searcher.by_text("a dog").hits


def test_an_insert_waits_for_a_server_that_is_gone(settings: Settings, proxy: TcpProxy) -> None:
    collection = Collection(settings.uri, settings.collection)
    assert collection.count() == 12
    proxy.close()
    threading.Timer(4, proxy.open).start()
    assert collection.count() == 12
