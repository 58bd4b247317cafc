"""Searches of small collections and of fresh segments on a server equal an exact search, also as time passes.

A server seals a segment of its memory 10 to 30 seconds after a flush, and merges small segments some minutes later.
Hits were once lost at both moments, so these tests wait for them.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from pipelines.fields import Field, FieldType
from pipelines.milvus.collection import Collection
from pipelines.milvus.index import AUTO, Index
from pipelines.milvus.index_build import EXACT_SEGMENT_ROWS, replace_index, unindexed_rows

pytestmark = pytest.mark.slow

DIM, LABELS, PAGE = 64, 50, 50


@dataclass
class Rows:
    """A collection on the server, and the rows that it should hold."""

    collection: Collection
    vectors: np.ndarray = field(default_factory=lambda: np.empty((0, DIM), np.float32))
    labels: list[str] = field(default_factory=list)

    def append(self, count: int, label: str = "") -> None:
        """Insert rows as a run does: upsert, flush, then the index that suits the number of rows."""
        random = np.random.default_rng(len(self.labels))
        vectors = random.normal(size=(count, DIM)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        first = len(self.labels)
        labels = [label or f"label{number % LABELS}" for number in range(first, first + count)]
        self.collection.upsert(
            {
                "id": first + row, "embedding": vector, "path": f"/{first + row}.jpg", "_mtime_ns": 1, "_size": 1,
                "_model": "test@0", "_hash": "", "_source": "", "label": labels[row],
            }
            for row, vector in enumerate(vectors)
        )  # fmt: skip
        self.collection.flush()
        self.collection.optimize()
        self.vectors, self.labels = np.concatenate([self.vectors, vectors]), self.labels + labels

    def check(self) -> None:
        """Check that deep, filtered and paged searches find what NumPy finds."""
        query = self.vectors[7] + 0.3 * self.vectors[11]
        query /= np.linalg.norm(query)
        ranked = np.argsort(-(self.vectors @ query), kind="stable")
        assert self.found(query, 10) == ranked[:10].tolist()
        deep = min(len(ranked), 1000)
        assert set(self.found(query, deep)) == set(ranked[:deep].tolist())
        for label in dict.fromkeys((self.labels[3], self.labels[-1])):
            members = [int(row) for row in ranked if self.labels[row] == label]
            assert set(self.found(query, 1000, f'label == "{label}"')) == set(members[:1000])
        reach = min(len(ranked), 1700)
        pages = [self.found(query, limit)[limit - PAGE :] for limit in range(PAGE, reach + 1, PAGE)]
        seen = [row for page in pages for row in page]
        assert len(seen) == len(set(seen)) == reach // PAGE * PAGE

    def found(self, query: np.ndarray, limit: int, expression: str = "") -> list[int]:
        """Return the ids of the nearest rows."""
        (hits,) = self.collection.search(query[None], limit, expression)
        return [int(hit[0]) for hit in hits]


@pytest.fixture(scope="module")
def rows_of(milvus_server: str) -> Iterator[dict[str, Rows]]:
    """Create collections of several sizes; return them by name."""
    made: dict[str, Rows] = {}
    for name, count, requested in [
        ("auto 100", 100, None), ("auto 664", 664, None), ("auto 1000", 1000, None), ("auto 1023", 1023, None),
        ("auto 5000", 5000, None), ("auto 20000", 20_000, None), ("hnsw 1000", 1000, Index("HNSW")),
        ("ivf_flat 1000", 1000, Index("IVF_FLAT")),
    ]:  # fmt: skip
        collection = Collection(milvus_server, f"t_{uuid.uuid4().hex[:12]}")
        collection.create(DIM, (Field("label", FieldType.TEXT),), requested)
        made[name] = Rows(collection)
        made[name].append(count)
    yield made
    for rows in made.values():
        rows.collection.drop()


def wait_until_sealed(collections: Sequence[Rows]) -> None:
    """Wait until every segment is sealed, and ten seconds more: this is when hits were lost."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        segments = [
            segment
            for rows in collections
            for segment in rows.collection.client.list_loaded_segments(rows.collection.name)
        ]
        if segments and all(str(segment.state).endswith("Sealed") for segment in segments):
            break
        time.sleep(2)
    time.sleep(10)


@pytest.mark.timeout(900)
def test_collections_of_every_size_are_searched_exactly_as_time_passes(rows_of: dict[str, Rows]) -> None:
    for wait in (lambda: None, lambda: wait_until_sealed(list(rows_of.values())), lambda: time.sleep(60)):
        wait()
        for rows in rows_of.values():
            rows.check()


@pytest.mark.timeout(900)
def test_a_small_new_part_of_a_collection_is_searched_exactly(rows_of: dict[str, Rows]) -> None:
    rows = rows_of["auto 20000"]
    rows.append(200, "new")
    rows.append(900, "newer")
    rows.check()
    wait_until_sealed([rows])
    rows.check()


@pytest.mark.timeout(900)
def test_a_requested_index_is_built_when_there_are_enough_rows(rows_of: dict[str, Rows]) -> None:
    rows = rows_of["hnsw 1000"]
    assert rows.collection.index == Index("FLAT", "COSINE", {"M": 16, "efConstruction": 200}, wanted="HNSW")
    rows.append(5_000)
    assert rows.collection.index == Index("HNSW", "COSINE", {"M": 16, "efConstruction": 200})
    waiting = unindexed_rows(rows.collection.client, rows.collection.name, EXACT_SEGMENT_ROWS + 1)
    assert waiting in (0, 1000)  # the first 1,000 rows have no index until the server merges the two segments
    deadline = time.monotonic() + 400
    while waiting and time.monotonic() < deadline:
        rows.collection.client.compact(rows.collection.name)  # as the server does by itself, some minutes later
        time.sleep(10)
        waiting = unindexed_rows(rows.collection.client, rows.collection.name, EXACT_SEGMENT_ROWS + 1)
    assert not waiting
    query = rows.vectors[5]
    exact = np.argsort(-(rows.vectors @ query))[:1000]
    assert len(set(rows.found(query, 1000)) & set(exact.tolist())) >= 990


@pytest.mark.timeout(900)
def test_a_small_hnsw_collection_of_version_0_1_becomes_exact_at_the_next_insert(rows_of: dict[str, Rows]) -> None:
    rows = rows_of["auto 1000"]
    collection = rows.collection
    hnsw = Index("HNSW", "COSINE", {"M": 16, "efConstruction": 200})
    replace_index(collection.client, collection.uri, collection.name, collection.index, hnsw)
    fresh = Rows(Collection(collection.uri, collection.name), rows.vectors, rows.labels)
    assert fresh.collection.index.type == "HNSW"
    fresh.append(1)
    assert (fresh.collection.index.type, fresh.collection.index.wanted) == ("FLAT", "HNSW")
    wait_until_sealed([fresh])
    fresh.check()
    rows.vectors, rows.labels = fresh.vectors, fresh.labels


def test_a_small_collection_keeps_in_mind_that_its_index_is_automatic(rows_of: dict[str, Rows]) -> None:
    assert rows_of["auto 100"].collection.index == Index("FLAT", "COSINE", {}, wanted=AUTO)
