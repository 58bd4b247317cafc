"""A page that outlives what it serves: a collection is replaced or deleted, a server goes away and comes back."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import gradio as gr
import pytest
from fastapi.testclient import TestClient

from app.application import build_app
from app.library import Library
from app.media import Thumbnails
from app.page import Page
from app.query_images import QueryImages
from pipelines import Settings, run_insert
from pipelines.models.clip import load_model
from pipelines.models.registry import BUILTIN
from tests.support.model_server import ModelServer, running
from tests.support.models import write_turned_builtin
from tests.support.photos import Photos, write_csv
from tests.support.tcp_proxy import TcpProxy

BASE = "http://127.0.0.1:7860"


def turns(client: TestClient, status: int, at_most: float) -> dict[str, Any]:
    """Poll `/readyz` until it has this status; return its answer."""
    end = time.monotonic() + at_most
    while (answer := client.get("/readyz")).status_code != status:
        assert time.monotonic() < end, answer.text
        time.sleep(0.1)
    return cast(dict[str, Any], answer.json())


def page_of(library: Library, folder: Path) -> Callable[[str], Any]:
    """Return a function that opens the page at an address and returns its view."""
    page = Page(library, QueryImages(folder))
    return lambda address: page.on_load(
        cast(gr.Request, SimpleNamespace(query_params=address, headers={}, client=SimpleNamespace(host="")))
    )


@pytest.mark.long
def test_page_and_api_follow_a_collection_that_was_replaced(uri: str, photos: Photos, tmp_path: Path) -> None:
    settings = Settings(uri=uri, collection=f"t_{uuid.uuid4().hex[:12]}", model="builtin")
    run_insert(photos.csv, settings)
    free = replace(settings, model="", rate_limit=0)
    library = Library(free)
    open_page = page_of(library, tmp_path / "q")
    with TestClient(build_app(library, thumbnails=Thumbnails(tmp_path / "t")), base_url=BASE) as client:
        before = [hit["id"] for hit in client.get("/api/search?q=a+dog&k=12").json()["hits"]]
        assert open_page("q=a+dog&fold=0")["collection"]["model"] == "builtin"
        turned = write_turned_builtin(tmp_path / "turned")
        run_insert(photos.csv, replace(settings, model=turned), reembed=True)
        end = time.monotonic() + 30
        while not client.get("/api/info").json()["model"].startswith(turned):
            assert time.monotonic() < end
            time.sleep(0.1)
        assert [hit["id"] for hit in client.get("/api/search?q=a+dog&k=12").json()["hits"]] == before
        view = open_page("q=a+dog&fold=0")
        assert view["collection"]["model"] == turned
        assert [int(card["id"]) for card in view["cards"]] == before
        turns(client, 200, 30)


@pytest.mark.long
def test_a_model_that_no_longer_fits_is_told_by_page_api_and_probe(
    lite: Settings, photos: Photos, tmp_path: Path
) -> None:
    run_insert(photos.csv, lite)
    library = Library(lite)  # its model is builtin
    with TestClient(build_app(library, thumbnails=Thumbnails(tmp_path / "t")), base_url=BASE) as client:
        assert client.get("/api/search?q=a").status_code == 200
        run_insert(photos.csv, replace(lite, model=write_turned_builtin(tmp_path / "turned")), reembed=True)
        for path in ("/api/search?q=a", "/api/info"):
            answer = client.get(path)
            assert answer.status_code == 503
            assert "this is builtin: search with --model" in answer.json()["error"]
        assert turns(client, 503, 30)["reason"] == "another model made the collection"
        assert "search with --model" in page_of(library, tmp_path / "q")("q=a")["message"]


@pytest.mark.long
def test_a_file_that_is_gone_and_back_turns_the_probe(
    lite: Settings, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.readiness._OLD_SECONDS", 600)  # so that no probe looks again by itself
    run_insert(photos.csv, lite)
    library = Library(lite)
    open_page = page_of(library, tmp_path / "q")
    with TestClient(build_app(library, thumbnails=Thumbnails(tmp_path / "t")), base_url=BASE) as client:
        assert client.get("/readyz").json() == {"status": "ok", "reason": "", "key": ""}
        shutil.move(lite.uri, tmp_path / "away")
        assert turns(client, 503, 30)["reason"] == "there is no collection, or it is empty"
        answer = client.get("/api/search?q=a")
        assert (answer.status_code, answer.json()["error"][:22]) == (503, "there is no collection")
        assert client.get("/thumb/1").status_code == 404
        assert open_page("q=a")["kind"] == "empty"
        shutil.move(tmp_path / "away", lite.uri)
        assert client.get("/api/search?q=a").status_code == 200
        turns(client, 200, 30)
        few = write_csv(photos.folder / "few.csv", ["id", "path", "colour"], [[40, photos.paths[0], "red"]])
        run_insert(few, replace(lite, collection="other"))  # other collections change nothing
        assert len(client.get("/api/search?q=a&k=12").json()["hits"]) == 12


SECONDS = 8  # seconds: about two when no other tests share the cores; gRPC itself would wait for 15 and more


@pytest.mark.long
@pytest.mark.parametrize("leave", [TcpProxy.close, TcpProxy.hang])
def test_a_model_server_that_is_gone_is_told_by_page_and_probe(
    lite: Settings, photos: Photos, tmp_path: Path, leave: Callable[[TcpProxy], None]
) -> None:
    run_insert(photos.csv, lite)
    with running(ModelServer(BUILTIN, load_model("builtin").model_id)) as server:
        proxy = TcpProxy(urlsplit(server.url).port or 0)
        library = Library(replace(lite, model_url=f"http://127.0.0.1:{proxy.port}"))
        open_page = page_of(library, tmp_path / "q")
        with TestClient(build_app(library, thumbnails=Thumbnails(tmp_path / "t")), base_url=BASE) as client:
            assert [client.get(path).status_code for path in ("/readyz", "/api/search?q=a")] == [200] * 2
            leave(proxy)
            told = turns(client, 503, 2 * SECONDS)
            assert told["reason"] == "the model server does not answer, or does not have the model"
            assert client.get("/api/similar/3").status_code == 200  # runs no model
            if leave is TcpProxy.close:  # a server that hangs is given up only after the usual 20 seconds
                view = open_page("q=b")
                assert (view["kind"], view["problem"], view["passes"]) == ("error", told["key"], True)
            proxy.open()
            turns(client, 200, 2 * SECONDS)
            assert client.get("/api/search?q=b").status_code == 200
        proxy.close()
    load_model.cache_clear()


@pytest.mark.long
@pytest.mark.parametrize("facts", [{"model_id": "builtin@0123456789ab"}, {"precision": "bf16"}])
@pytest.mark.parametrize("is_loaded", [True, False])
def test_a_model_that_was_exchanged_on_its_server_is_told_by_the_probe(
    facts: dict[str, str], is_loaded: bool, lite: Settings, photos: Photos, tmp_path: Path
) -> None:
    run_insert(photos.csv, lite)
    with running(ModelServer(BUILTIN, load_model("builtin").model_id)) as server:
        library = Library(replace(lite, model_url=server.url))
        with TestClient(build_app(library, thumbnails=Thumbnails(tmp_path / "t")), base_url=BASE) as client:
            if is_loaded:
                assert client.get("/api/search?q=a").status_code == 200
            turns(client, 200, 30)
            before = dict(server.facts)
            server.facts |= facts
            is_searched = not is_loaded and "precision" in facts  # the precision is read when the model is loaded
            told = turns(client, 200 if is_searched else 503, 30)
            assert (told["reason"] == "another model made the collection") is not is_searched
            assert (client.get("/api/search?q=b").status_code == 200) is is_searched
            server.facts |= before
            turns(client, 503 if is_searched else 200, 30)
            assert (client.get("/api/search?q=c").status_code == 200) is not is_searched
    load_model.cache_clear()


@pytest.fixture(scope="module")
def on_server(milvus_server: str, module_photos: Photos) -> Settings:
    settings = Settings(uri=milvus_server, collection=f"t_{uuid.uuid4().hex[:12]}", model="builtin", rate_limit=0)
    run_insert(module_photos.csv, settings)
    return settings


@pytest.mark.parametrize(
    ("leave", "repeats"),
    # gRPC gives up a server that hangs after 15 seconds, and then makes new connections.
    [(TcpProxy.close, 1), (TcpProxy.hang, 1), pytest.param(TcpProxy.hang, 8, marks=pytest.mark.slow)],
)
def test_a_server_that_is_gone_is_told_in_seconds_and_asked_again(
    on_server: Settings, proxy: TcpProxy, tmp_path: Path, leave: Callable[[TcpProxy], None], repeats: int
) -> None:
    library = Library(replace(on_server, uri=f"http://127.0.0.1:{proxy.port}"))
    open_page = page_of(library, tmp_path / "q")
    paths = ("/api/search?q=a", "/api/similar/3", "/api/info", "/thumb/3", "/image/3")
    with TestClient(build_app(library, thumbnails=Thumbnails(tmp_path / "t")), base_url=BASE) as client:
        assert [client.get(path).status_code for path in (*paths, "/readyz")] == [200] * 6
        assert open_page("q=id:3")["kind"] == "results"
        for path in paths:
            leave(proxy)
            start = time.monotonic()
            answer = client.get(path)
            assert (answer.status_code, time.monotonic() - start < SECONDS) == (503, True), path
            assert answer.text
            proxy.open()
            assert client.get(path).status_code == 200, path
        assert open_page("q=id:3")["kind"] == "results"
        leave(proxy)
        start = time.monotonic()
        assert open_page("q=id:3")["kind"] == "error"  # reads three times: the image, the hits, and the image again
        assert time.monotonic() - start < SECONDS
        proxy.open()
        assert open_page("q=id:3")["kind"] == "results"
        leave(proxy)
        assert turns(client, 503, SECONDS)["reason"].startswith("Milvus does not answer")
        seconds = []
        for _ in range(5):
            start = time.monotonic()
            assert client.get("/healthz").status_code == 200
            assert client.get("/readyz").status_code == 503
            seconds.append(time.monotonic() - start)
        assert min(seconds) < 0.2  # neither asks the server
        for _ in range(repeats):
            start = time.monotonic()
            view = open_page("q=id:3")
            assert (view["kind"], view["problem"]) == ("error", "error_database")
            assert time.monotonic() - start < SECONDS
        proxy.open()
        assert open_page("q=id:3")["kind"] == "results"
        turns(client, 200, 30)
