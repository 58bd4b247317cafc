"""Milvus insert and search: `ops.ann_insert.milvus_client(…)`, `ops.ann_search.milvus_client(…)`, and by the row."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..milvus import schema
from ..milvus.collection import Collection
from ..milvus.connection import call
from ..milvus.lite import writing

log = logging.getLogger(__name__)


def _open(
    uri: str | None,
    host: str | None,
    port: str | int | None,
    collection_name: str,
    token: str,
    user: str,
    password: str,
) -> Collection:
    """By `uri` (Milvus Lite file, server, Zilliz Cloud), or by host and port as the hub's operators."""
    address = uri or f"http://{host or '127.0.0.1'}:{port or 19530}"
    return Collection(address, collection_name, token or (f"{user}:{password}" if user else ""))


class MilvusInsert:
    """Writes one row a call, or columns of rows; the values in the order of the collection's fields.

    It upserts wherever the collection's keys are its own: a repeated run doubles nothing. A row without a
    finite embedding (an undecodable image) is left out and logged.
    """

    def __init__(
        self, host: str | None = None, port: str | int | None = None, collection_name: str = "", *,
        uri: str | None = None, token: str = "", user: str = "", password: str = "",
        collection: Collection | None = None,
    ) -> None:  # fmt: skip
        self._collection = collection or _open(uri, host, port, collection_name, token, user, password)
        description = self._collection.describe()
        self._auto_id = bool(description.get("auto_id"))
        names = [field["name"] for field in description["fields"]]
        keys = [field["name"] for field in description["fields"] if field.get("is_primary")]
        self._names = [name for name in names if not (self._auto_id and name in keys)]
        self._key = keys[0] if keys else ""

    def __call__(self, *values: Any) -> int:
        """Returns the number of rows written."""
        if len(values) != len(self._names):
            raise ValueError(f"{len(values)} values for the {len(self._names)} fields {', '.join(self._names)}")
        batch = isinstance(values[0], (list, tuple))
        columns = values if batch else [[value] for value in values]
        rows = [dict(zip(self._names, row, strict=True)) for row in zip(*columns, strict=True)]
        kept = [row for row in rows if all(_is_finite(value) for value in row.values())]
        if len(kept) < len(rows):
            log.warning("%d rows without an embedding were not inserted", len(rows) - len(kept))
        client, collection = self._collection.client, self._collection.name
        with writing(self._collection.uri):
            if kept and self._auto_id:  # repeated, it would write a second time: one try
                call(client.insert, collection, kept, deadline=0)
            elif kept:
                unique = {row[self._key]: row for row in kept}
                call(client.upsert, collection, list(unique.values()))
        return len(kept)

    def flush(self) -> None:
        """Called by `pipeline.flush()`: makes the rows durable and counted."""
        self._collection.flush()


class MilvusUpsert:
    """Upserts a batch of rows and their embeddings into a collection of `pipelines.milvus.schema`."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def __call__(self, rows: Sequence[Mapping[str, Any]], embeddings: np.ndarray) -> list[bool]:
        """Rows without `embedding`, float32[n, dim] → which were written: those with a finite embedding."""
        finite = [bool(np.isfinite(embedding).all()) for embedding in embeddings]
        complete = zip(rows, embeddings, finite, strict=True)
        self._collection.upsert({**row, schema.EMBEDDING: embedding} for row, embedding, good in complete if good)
        return finite


class MilvusSearch:
    """Finds the nearest rows to an embedding. Each hit is `[id, score, *output_fields]`, best first."""

    def __init__(
        self, host: str | None = None, port: str | int | None = None, collection_name: str = "", limit: int = 10,
        output_fields: Sequence[str] = (), expr: str = "", *,
        uri: str | None = None, token: str = "", user: str = "", password: str = "",
        collection: Collection | None = None, **_: Any,
    ) -> None:  # fmt: skip
        self._collection = collection or _open(uri, host, port, collection_name, token, user, password)
        self._limit, self._fields, self._expression = limit, list(output_fields), expr or ""

    def __call__(self, embedding: np.ndarray, limit: int | None = None, expr: str | None = None) -> list[list[Any]]:
        """float32[dim] → hits; float32[n, dim] → n lists of hits, by one call. NaN finds nothing.

        `limit` and `expr` (a Milvus filter) override the operator's own.
        """
        expression = self._expression if expr is None else expr
        embeddings = np.atleast_2d(embedding)
        finite = np.isfinite(embeddings).all(axis=1)
        wanted = limit or self._limit
        found = iter(
            self._collection.search(embeddings[finite], wanted, expression, self._fields) if finite.any() else ()
        )
        hits = [next(found) if good else [] for good in finite]
        return hits if embedding.ndim == 2 else hits[0]


def _is_finite(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return bool(np.isfinite(value).all())
    return True
