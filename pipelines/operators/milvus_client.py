"""Milvus: `ops.ann_insert.milvus_client(…)`, `ops.ann_search.milvus_client(…)` and `ops.ann_insert.milvus_rows(…)`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..fields import EMBEDDING
from ..milvus.calls import call
from ..milvus.collection import Collection
from ..milvus.lite import writing

log = logging.getLogger(__name__)


def _open(
    host: str | None, port: str | int | None, collection_name: str, *, collection: Collection | None = None,
    uri: str = "", token: str = "", user: str = "", password: str = "", **_: Any,
) -> Collection:  # fmt: skip
    """Return `collection`, or open one by `uri` (Milvus Lite file, server, Zilliz Cloud) or by host and port.

    Other parameters of the hub's operators, `metric_type` for example, are ignored.
    """
    if collection is not None:
        return collection
    address = uri or f"http://{host or '127.0.0.1'}:{port or 19530}"
    return Collection(address, collection_name, token or (f"{user}:{password}" if user else ""))


class MilvusInsert:
    """Writes one row per call, or columns of rows, with the values in the order of the collection's fields.

    A repeated run does not write rows twice, unless Milvus itself makes the collection's ids. A row without a finite
    embedding (of an image that could not be decoded) is left out and logged.
    """

    def __init__(
        self, host: str | None = None, port: str | int | None = None, collection_name: str = "", **address: Any
    ) -> None:
        self._collection = _open(host, port, collection_name, **address)
        description = self._collection.describe()
        self._auto_id = bool(description.get("auto_id"))
        self._key = next((field["name"] for field in description["fields"] if field.get("is_primary")), "")
        names = [field["name"] for field in description["fields"]]
        self._names = [name for name in names if not (self._auto_id and name == self._key)]

    def __call__(self, *values: Any) -> int:
        """Return the number of rows written."""
        if len(values) != len(self._names):
            raise ValueError(f"{len(values)} values for the {len(self._names)} fields {', '.join(self._names)}")
        columns = values if isinstance(values[0], (list, tuple)) else [[value] for value in values]
        rows = [dict(zip(self._names, row, strict=True)) for row in zip(*columns, strict=True)]
        kept = [row for row in rows if all(_is_finite(value) for value in row.values())]
        if len(kept) < len(rows):
            log.warning("%d rows without an embedding were not inserted", len(rows) - len(kept))
        client, collection = self._collection.client, self._collection.name
        with writing(self._collection.uri):
            if kept and self._auto_id:  # no retries: they would write the rows again
                call(client.insert, collection, kept, deadline=0)
            elif kept:
                call(client.upsert, collection, list({row[self._key]: row for row in kept}.values()))
        return len(kept)

    def flush(self) -> None:
        """Make the rows durable and counted: `pipeline.flush()` calls this."""
        self._collection.flush()


class MilvusUpsert:
    """Writes a batch of rows and their embeddings into a collection that this program made."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def __call__(
        self, rows: Sequence[Mapping[str, Any]], metadata: Sequence[Mapping[str, Any]], embeddings: np.ndarray
    ) -> list[bool]:
        """n rows without embedding, n metadata, float32[n, dim] → which rows were written: those that are finite."""
        finite = [_is_finite(embedding) for embedding in embeddings]
        complete = zip(rows, metadata, embeddings, finite, strict=True)
        self._collection.upsert({**row, **own, EMBEDDING: embedding} for row, own, embedding, good in complete if good)
        return finite


class MilvusSearch:
    """Finds the rows nearest to an embedding. Each hit is `[id, score, *output_fields]`, best first."""

    def __init__(
        self, host: str | None = None, port: str | int | None = None, collection_name: str = "", limit: int = 10,
        output_fields: Sequence[str] = (), expr: str = "", **address: Any,
    ) -> None:  # fmt: skip
        self._collection = _open(host, port, collection_name, **address)
        self._limit, self._fields, self._expression = limit, list(output_fields), expr or ""

    def __call__(self, embedding: np.ndarray, limit: int | None = None, expr: str | None = None) -> list[list[Any]]:
        """float32[dim] → hits; float32[n, dim] → n lists of hits, in one call of Milvus. NaN finds nothing.

        `limit` and `expr` (a Milvus filter expression) override those of the operator.
        """
        expression = self._expression if expr is None else expr
        embeddings = np.atleast_2d(embedding)
        finite = [number for number, one in enumerate(embeddings) if _is_finite(one)]
        hits: list[list[Any]] = [[] for _ in embeddings]
        if finite:
            found = self._collection.search(embeddings[finite], limit or self._limit, expression, self._fields)
            for number, rows in zip(finite, found, strict=True):
                hits[number] = rows
        return hits if embedding.ndim == 2 else hits[0]


def _is_finite(value: Any) -> bool:
    return not isinstance(value, np.ndarray) or bool(np.isfinite(value).all())
