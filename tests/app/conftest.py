"""Applications that several test files send requests to: of a small collection, with a password, and without one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.access import Buckets
from app.application import build_app
from app.gradio_import import import_gradio
from app.library import Library
from app.media import Thumbnails
from pipelines import Settings, run_insert
from pipelines.milvus.connection import close
from tests.support.page import Collection, make_collection
from tests.support.photos import draw_images, write_csv

import_gradio()  # as the program does; a plain import by a test takes twice the time
BASE = "http://127.0.0.1:7860"
PASSWORD = ("ann", "tüü:long")


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return make_collection(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def client(collection: Collection, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    uri = collection.copy_to(tmp_path_factory.mktemp("db"))
    app = build_app(Library(Settings(uri=uri)), ["images.example"], Thumbnails(cache))
    with TestClient(app, base_url="http://127.0.0.1:7860") as client:
        yield client


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Index five images, the last of which is a link to a file outside their folder."""
    folder = tmp_path_factory.mktemp("safe")
    paths = draw_images(folder / "photos", 4)
    outside = draw_images(folder / "outside", 6)
    link = folder / "photos" / "link.jpg"
    link.symlink_to(outside[5])
    rows = [[number, path] for number, path in enumerate([*paths, link], 1)]
    settings = Settings(uri=str(folder / "safe.db"), model="builtin", auth=":".join(PASSWORD), rate_limit=0)
    run_insert(write_csv(folder / "p.csv", ["id", "path"], rows), settings)
    yield settings
    close(settings.uri)


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock of limits in applications built from now on, so that no slow machine lifts a limit."""
    monkeypatch.setattr(Buckets.__init__, "__defaults__", (lambda: 0.0,))


@pytest.fixture(scope="module")
def library(settings: Settings) -> Library:
    return Library(settings)


@pytest.fixture(scope="module")
def guarded(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with TestClient(build_app(library, thumbnails=Thumbnails(tmp_path_factory.mktemp("t"))), base_url=BASE) as client:
        yield client


@pytest.fixture(scope="module")
def open_client(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Serve the same images without a password."""
    app = build_app(Library(replace(library.settings, auth="")), thumbnails=Thumbnails(tmp_path_factory.mktemp("t")))
    with TestClient(app, base_url=BASE) as client:
        yield client


@pytest.fixture
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock of the limits by time, so that they allow no more on a slow machine."""
    monkeypatch.setattr("app.access.Buckets", partial(Buckets, clock=lambda: 0.0))
