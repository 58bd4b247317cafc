"""The loss of an index is measured where it occurs: in deep, filtered and paged searches, not only in ten hits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.evaluation.exact import read_table
from pipelines.evaluation.index_loss import IndexLoss, measure_index
from pipelines.milvus import schema
from pipelines.milvus.collection import Collection
from pipelines.milvus.connection import close
from pipelines.milvus.index import Index


def measure(folder: Path, index: Index) -> IndexLoss:
    """Measure an index over 3,000 random embeddings of 32 dimensions."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(3_000, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    collection = Collection(str(folder / "loss.db"), "loss")
    collection.create(32, (), index)
    own = {schema.MTIME_NS: 0, schema.SIZE: 0, schema.MODEL: "random@0", schema.HASH: "", schema.SOURCE: ""}
    collection.upsert(
        {schema.ID: key, schema.PATH: f"/{key}", schema.EMBEDDING: vector, **own} for key, vector in enumerate(vectors)
    )
    collection.flush()
    collection.optimize(index)
    try:
        table = read_table(collection, folder, "", lambda *_: None)
        return measure_index(collection, table, vectors[:40], [], lambda texts: np.empty((0, 32)), seed=0)
    finally:
        close(collection.uri)


@pytest.mark.long
def test_an_exact_index_loses_nothing(tmp_path: Path) -> None:
    loss = measure(tmp_path, Index("FLAT", "COSINE"))
    assert [each.value for each in (loss.recall, loss.deep, loss.filtered, loss.paged)] == pytest.approx([1, 1, 1, 1])


@pytest.mark.long
def test_an_index_that_loses_hits_behind_a_filter_says_so(tmp_path: Path) -> None:
    loss = measure(tmp_path, Index("HNSW", "COSINE", {"M": 4, "efConstruction": 8}))
    assert loss.filtered.value < 0.95
    assert loss.deep.value < 1
