"""The operators that write to Milvus: what they refuse and what they leave out."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines import Settings
from pipelines.milvus.collection import Collection
from pipelines.operators.milvus_client import MilvusInsert, MilvusUpsert
from tests.support.tutorial import make_tutorial_collection


def test_insert_refuses_a_wrong_number_of_values(lite: Settings) -> None:
    make_tutorial_collection(lite, dim=4)
    with pytest.raises(ValueError, match="3 values for the 2 fields id, embedding"):
        MilvusInsert(uri=lite.uri, collection_name=lite.collection)(1, np.ones(4), "label")


def test_upsert_operator_leaves_out_rows_without_a_finite_embedding(lite: Settings) -> None:
    collection = Collection(lite.uri, lite.collection)
    collection.create(4, ())
    row = {"path": "a.jpg", "_mtime_ns": 0, "_size": 0, "_model": "m", "_hash": "", "_source": ""}
    embeddings = np.array([[1, 0, 0, 0], [np.nan] * 4], np.float32)
    assert MilvusUpsert(collection)([{"id": 1, **row}, {"id": 2, **row}], [{}, {}], embeddings) == [True, False]
    assert collection.count() == 1
