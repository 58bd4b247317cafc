"""Milvus Lite's own objects give the hits that its server sends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.errors import InputError
from pipelines.fields import Field, FieldType
from pipelines.milvus import schema
from pipelines.milvus.collection import Collection
from pipelines.milvus.connection import close
from pipelines.milvus.index import AUTO, Index
from pipelines.milvus.lite_search import get_lite, search_lite
from tests.support.program import run_code

DIM, ROWS = 8, 400
FIELDS = (
    Field("number", FieldType.INT, has_gaps=True), Field("part", FieldType.FLOAT, has_gaps=True),
    Field("flag", FieldType.BOOL, has_gaps=True), Field("day", FieldType.DATE, has_gaps=True),
    Field("text", FieldType.TEXT),
)  # fmt: skip
VALUES: list[dict[str, Any]] = [
    {"number": 2**62, "part": 0.1, "flag": True, "day": -(2**40), "text": "ä 🎈"},
    {"number": None, "part": None, "flag": None, "day": None, "text": ""},
    {"number": -1, "part": -1e300, "flag": False, "day": 0, "text": "b"},
]


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    collection = Collection(tmp_path / "m.db", "c")
    collection.create(DIM, FIELDS)
    keys = {field.name: field.key for field in collection.fields()}
    vectors = np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)
    rows = [
        {"id": key - 3, "path": f"/{key}", "_mtime_ns": 0, "_size": 0, "_key": "", "_device": -1, "_precision": "",
         "_schema_2": 0, "_hash": "", "_source": "", "_model": "m", "embedding": vector / np.linalg.norm(vector),
         **{keys[name]: value for name, value in VALUES[key % 3].items()}}
        for key, vector in enumerate(vectors)
    ]  # fmt: skip
    collection.upsert(rows[:300])
    collection.flush()
    collection.optimize(Index(AUTO))
    collection.upsert(rows[290:])
    collection.delete([row["id"] for row in rows[280:320]])
    yield collection
    close(collection.uri)


@pytest.mark.parametrize("limit", [1, 50, 1_000])
@pytest.mark.parametrize("expression", ["", "number >= -1", 'text like "%🎈"', "id != 5", "number == 3"])
def test_hits_are_those_of_the_server(collection: Collection, limit: int, expression: str) -> None:
    queries = np.random.default_rng(1).standard_normal((3, DIM)).astype(np.float32)
    own = [field.key for field in collection.fields()]
    for names in ([schema.ID], own, [schema.EMBEDDING, *own]):
        found = search_lite(collection.address, "c", queries, limit, expression, names, {"nprobe": 1})
        sent = collection.client.search(
            "c", list(queries), limit=limit, filter=expression, output_fields=names,
            search_params={"params": {"nprobe": 1}},
        )  # fmt: skip
        assert found is not None
        for mine, theirs in zip(found, sent, strict=True):
            assert (mine.ids, mine.distances) == (list(theirs.ids), list(theirs.distances))
            asked = set(names) - {schema.ID}
            entities = [{name: hit["entity"][name] for name in asked} for hit in theirs]
            assert [hit["entity"] for hit in mine] == entities


def test_rows_by_id_are_those_of_the_server(collection: Collection) -> None:
    """Sealed, pending, replaced, deleted and unknown rows, in the order that was asked for."""
    ids = [395, -3, 0, 5, 288, 292, 330, 10**9, 277, 1]
    own = [field.key for field in collection.fields()]
    for names in ([schema.ID], [schema.ID, *own], [schema.EMBEDDING, schema.ID, schema.PATH]):
        sent = collection.client.get("c", ids=ids, output_fields=names)
        assert get_lite(collection.address, "c", ids, names) == [dict(row) for row in sent]
    assert [row["id"] for row in sent] == [395, -3, 0, 5, 330, 1]
    assert list(collection.get(ids, own)) == [395, -3, 0, 5, 330, 1]


def test_what_is_wrong_is_said_by_the_server(collection: Collection, tmp_path: Path) -> None:
    query = np.ones((1, DIM), np.float32)
    assert search_lite(collection.address, "c", query, 5, "no such", ["id"], {}) is None
    with pytest.raises(InputError, match="Milvus does not understand the filter"):
        collection.search(query, 5, "no such")
    assert search_lite(collection.address, "other", query, 5, "", ["id"], {}) is None
    assert search_lite(str(tmp_path / "other.db"), "c", query, 5, "", ["id"], {}) is None
    assert get_lite(collection.address, "other", [1], ["id"]) is None


@pytest.mark.slow
def test_an_open_file_writes_nothing_to_the_terminal(tmp_path: Path) -> None:
    """After a hundred seconds Milvus Lite refuses gRPC's keepalive pings as too many; gRPC must not print that."""
    code = "import sys, time; from pipelines.milvus.connection import connect; connect(sys.argv[1]); time.sleep(150)"
    done = run_code(code, tmp_path / "idle.db", timeout=250)
    assert (done.status, done.out, done.err) == (0, "", "")
