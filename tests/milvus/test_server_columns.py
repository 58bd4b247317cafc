"""A server's columns are read without making rows of them."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

from app.application import build_app
from app.library import Library
from pipelines import Settings
from pipelines.cli.commands import group
from pipelines.errors import ColumnsAwaited
from pipelines.fields import ID, PATH, Field, FieldType
from pipelines.milvus import calls
from pipelines.milvus.collection import Collection
from pipelines.milvus.column_reader import read_columns
from pipelines.models.clip import load_model
from pipelines.search.catalog import Catalog

FIELDS = (
    Field("label", FieldType.TEXT), Field("year", FieldType.INT), Field("size", FieldType.FLOAT),
    Field("featured", FieldType.BOOL), Field("taken", FieldType.DATE),
)  # fmt: skip
IDS = (-(2**63), -(2**63) + 1, -5, 0, 7, 8, 2**53 + 1, 2**63 - 3, 2**63 - 2)
CELLS = {"label": ("a", "", "ä"), "year": (1, None, -2), "size": (0.5, None, -0.25), "featured": (True, None, False),
         "taken": (-1, None, 86_400_000)}  # fmt: skip


@pytest.fixture
def collection(milvus_server: str) -> Iterator[Collection]:
    collection = Collection(milvus_server, f"t_{uuid.uuid4().hex[:12]}")
    collection.create(256, FIELDS)
    yield collection
    collection.drop()


@pytest.fixture
def library(collection: Collection, held_up: threading.Event, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """Open the collection as the page does, which does not wait for the columns."""
    store(collection, IDS)
    monkeypatch.setattr("app.library.SHOWING", calls.SHOWING._replace(columns=0.0))
    library = Library(Settings(uri=collection.uri, collection=collection.name, model="builtin"))
    yield library
    library.searcher().close()


def store(collection: Collection, ids: tuple[int, ...], **cells: Any) -> list[dict[str, Any]]:
    keys = [(field.name, field.key) for field in collection.fields()]
    rows = [
        {ID: key, PATH: f"/{key}.jpg", **{stored: CELLS[name][n % 3] for name, stored in keys}, **cells}
        for n, key in enumerate(ids)
    ]
    system = {"_model": load_model("builtin").model_id, "_mtime_ns": 0, "_size": 0, "_hash": "", "_source": ""}
    collection.upsert({**system, "embedding": np.ones(256, np.float32), **row} for row in rows)
    return rows


def read(collection: Collection, **options: Any) -> list[dict[str, Any]]:
    fields = (Field(ID, FieldType.INT, key=ID), Field(PATH, FieldType.TEXT, key=PATH), *collection.fields())
    rows: list[dict[str, Any]] = read_columns(collection, fields, **options).to_pylist()
    return sorted(rows, key=lambda row: row[ID])


@pytest.mark.parametrize("rows", [1, 2, len(IDS)])
def test_each_range_of_ids_is_read(collection: Collection, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell comes back, an empty one as None, whatever the ranges; nothing is read twice."""
    monkeypatch.setattr("pipelines.milvus.column_reader._ROWS", rows)
    assert read(collection) == []
    expected = store(collection, IDS)
    told: list[tuple[int, int]] = []
    assert read(collection, on_progress=lambda *progress: told.append(progress)) == expected
    assert told[0] == (0, len(IDS))
    assert told[-1] == (len(IDS), len(IDS))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.slow
def test_answers_that_a_server_refuses_as_too_long_are_read_in_halves(collection: Collection) -> None:
    """A server sends at most 100 MB at once; these rows have 120."""
    text = "long " * 12_000
    for start in range(0, 2_000, 100):
        store(collection, tuple(range(start, start + 100)), **{PATH: text})
    rows = read(collection)
    assert [row[ID] for row in rows] == list(range(2_000))
    assert {row[PATH] for row in rows} == {text}


def test_a_request_of_the_page_is_told_how_far_the_columns_are(
    collection: Collection, held_up: threading.Event
) -> None:
    """The page's request does not wait for the columns; a request that waits gets them."""
    store(collection, IDS)
    catalog = Catalog(collection, collection.fields(), keys=True)
    catalog.check()
    with calls.patience(calls.SHOWING._replace(columns=0.0)), pytest.raises(ColumnsAwaited, match=r"\d of \d") as late:
        catalog.held()
    assert late.value.key == "error_columns"
    with pytest.raises(ColumnsAwaited):
        catalog.check()
    held_up.set()
    assert len(catalog.held().table) == len(IDS)
    catalog.check()


def test_the_command_line_waits_for_the_columns(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    store(collection, IDS)
    monkeypatch.setattr("pipelines.milvus.calls.SHOWING", calls.SHOWING._replace(columns=0.05))
    command = [
        "search",
        "--uri",
        collection.uri,
        "--collection",
        collection.name,
        "--sort",
        "path",
        "-k",
        "20",
        "--json",
    ]
    shown = CliRunner().invoke(group, command)
    assert shown.exit_code == 0, shown.output
    assert len(json.loads(shown.output)) == len(IDS)


def test_the_api_says_how_many_rows_have_come(library: Library, held_up: threading.Event) -> None:
    client = TestClient(build_app(library), base_url="http://127.0.0.1")
    answer = client.get("/api/facets")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert re.search(r"\d of \d; try again in a moment", answer.json()["error"])
    held_up.set()
    library.warm_up()
    assert client.get("/api/facets").json()["total"] == len(IDS)


def test_words_are_searched_for_before_the_columns_have_come(library: Library, held_up: threading.Event) -> None:
    first = library.overview()
    assert (first.rows, first.columns, first.samples, first.is_complete) == (len(IDS), (), (), False)
    with pytest.raises(ColumnsAwaited):
        library.check_columns()
    with library.answering():
        assert len(library.searcher().by_text("a dog").hits) == len(IDS)
    held_up.set()
    library.warm_up()
    library.check_columns()
    library.describe_again()
    whole = library.overview()
    assert whole.is_complete
    assert len(whole.columns) == len(FIELDS)
    assert len(whole.samples) == len(IDS)
