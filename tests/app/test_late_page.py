"""The API answers while the page is still being built, and requests for the page wait."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from app import late_page
from app.application import build_app
from app.library import Library
from pipelines import Settings
from pipelines.milvus.connection import close
from tests.support.page import Collection
from tests.support.program import run_code

BASE = "http://127.0.0.1:7860"
_ORDER = """
import sys, threading
from fastapi.testclient import TestClient
from app import late_page
from app.library import Library
from app.application import build_app
from pipelines import Settings

late_page._MOST_WAIT = 60
app = build_app(Library(Settings(uri=sys.argv[1])), page_after=threading.Event())
with TestClient(app, base_url="http://127.0.0.1:7860") as client:
    for path in ("/healthz", "/readyz", "/api/search?q=cat", "/"):
        answer = client.get(path)
        print(answer.status_code, b'"rank"' in answer.content, "gradio" in sys.modules)
"""


@pytest.fixture
def open_library(library: Library) -> Library:
    return Library(replace(library.settings, auth=""))


def test_the_api_answers_before_gradio_is_imported(
    collection: Collection, tmp_path_factory: pytest.TempPathFactory
) -> None:
    done = run_code(_ORDER, collection.copy_to(tmp_path_factory.mktemp("late")))
    assert done.out.splitlines() == ["200 False False", "200 False False", "200 True False", "200 False True"], done.err


def test_a_page_that_was_open_before_gets_its_answers(open_library: Library) -> None:
    """Its browser sends requests to this process before anybody has opened the page here."""
    app = build_app(open_library, page_after=threading.Event())
    with TestClient(app, base_url=BASE) as client:
        answer = client.get("/gradio_api/queue/data?session_hash=abc")
    assert (answer.status_code, answer.text) == (404, "Nothing was asked in this session.")


def test_a_page_that_cannot_be_built_leaves_the_api(
    open_library: Library, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ImportError("no Gradio")

    monkeypatch.setattr(late_page, "import_gradio", fail)
    app = build_app(open_library, page_after=threading.Event())
    with TestClient(app, base_url=BASE, raise_server_exceptions=False) as client:
        assert client.get("/").status_code == 500
        assert client.get("/api/search?q=cat").status_code == 200
    assert "the page could not be built" in caplog.text
    with pytest.raises(RuntimeError, match="could not be built"), TestClient(build_app(open_library), base_url=BASE):
        pass


def test_an_application_that_ends_before_its_page_is_built_ends(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_page, "_MOST_WAIT", 60)
    app = build_app(Library(replace(settings, auth="")), page_after=threading.Event())
    with TestClient(app, base_url=BASE) as client:
        assert client.get("/healthz").status_code == 200
    app.state.page._begin.set()
    app.state.page._thread.join(60)
    close(settings.uri)
