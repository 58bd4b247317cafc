"""One collection in one Milvus: created by `schema.py`, written only by upsert, searched, described, dropped."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..errors import CollectionNotFound, InputError, StoreError
from . import schema
from .connection import call, connect, is_lite, normalise_uri
from .index import build_params, choose_index, search_params

if TYPE_CHECKING:
    from pymilvus import MilvusClient
    from pymilvus.milvus_client import IndexParams

T = TypeVar("T")

# Milvus Lite has no lock between writers (its own server.py says "single writer"), so there is one here.
_write_lock = threading.RLock()
# Rows of one RPC: the fastest for Milvus Lite, and far below a server's 64 MB message limit.
ROWS_PER_CALL = 1000
INSERT_COMMAND = "python -m pipelines insert CSV_OR_FOLDER"
# A filter or paging can reach this far on a server.
MAX_LIMIT = 16_384


@dataclass(frozen=True)
class CollectionInfo:
    """What `info` prints."""

    collection: str
    uri: str
    rows: int
    model: str
    dim: int
    index: str
    metric: str
    fields: tuple[schema.Field, ...]


class Store:
    """A collection. Cheap to make; connects on first use; may be shared by threads."""

    def __init__(self, uri: str, collection: str, token: str = "") -> None:
        self.uri, self.collection, self._token = uri, collection, token
        self._loaded = False

    @cached_property
    def client(self) -> MilvusClient:
        """The process's client for this Milvus."""
        return connect(self.uri, self._token)

    def exists(self) -> bool:
        """Whether the collection is there. Looking does not create a Milvus Lite file."""
        if is_lite(self.uri) and not os.path.exists(normalise_uri(self.uri)):
            return False
        return call(self.client.has_collection, self.collection)

    def create(self, dim: int, fields: tuple[schema.Field, ...]) -> None:
        """Makes an empty collection for embeddings of `dim` dimensions and loads it.

        Raises:
            InputError: a number column has empty cells and this Milvus (before 2.5) cannot store NULL.
        """
        definition = schema.build_schema(self.client, dim, fields)
        index = self._index_params(choose_index(self.uri, rows=0))
        call(self.client.create_collection, self.collection, schema=definition, index_params=index)
        nullable = {field.name for field in self.fields() if field.has_gaps or field.type is schema.FieldType.TEXT}
        for field in fields:
            if field.has_gaps and field.name not in nullable:
                self.drop()
                raise InputError(schema.cannot_store_gaps(field.name))

    def load(self) -> None:
        """Makes the collection searchable; a Milvus Lite collection is 'released' after each start.

        Raises:
            CollectionNotFound: it does not exist.
        """
        if self._loaded:
            return
        self.describe()
        if not call(self.client.list_indexes, self.collection):  # a run was killed while it changed the index
            call(self.client.create_index, self.collection, self._index_params(choose_index(self.uri, rows=0)))
        call(self.client.load_collection, self.collection)
        if is_lite(self.uri):
            self.flush()  # rows replayed from the log are searched one by one in Python, 50 µs each
        self._loaded = True

    def describe(self) -> dict[str, Any]:
        """Milvus's own description of the collection.

        Raises:
            CollectionNotFound: it does not exist.
        """
        if not self.exists():
            raise CollectionNotFound(
                f"there is no collection '{self.collection}' in {self.uri}; fill it with: {INSERT_COMMAND}"
            )
        return call(self.client.describe_collection, self.collection)

    def fields(self) -> tuple[schema.Field, ...]:
        """The CSV columns stored beside each picture."""
        return schema.read_fields(self.describe())

    def dim(self) -> int:
        """Dimension of the stored embeddings."""
        vector = next(field for field in self.describe()["fields"] if field["name"] == schema.EMBEDDING)
        return int(vector["params"]["dim"])

    def model(self) -> str:
        """Tag of the model that made the embeddings, '' while the collection is empty.

        Raises:
            StoreError: somebody else's collection, with other fields.
        """
        if schema.MODEL not in {field["name"] for field in self.describe()["fields"]}:
            raise StoreError(
                f"collection '{self.collection}' was not made by this program; choose another (--collection)"
            )
        rows = self.query("", [schema.MODEL], limit=1)
        return str(rows[0][schema.MODEL]) if rows else ""

    def count(self, expression: str = "", strong: bool = True) -> int:
        """Number of rows (that match), as of now."""
        rows = self.query(expression, ["count(*)"], strong)
        return int(rows[0]["count(*)"])

    def query(
        self, expression: str, output_fields: Sequence[str], strong: bool = True, **options: Any
    ) -> list[dict[str, Any]]:
        """Rows that match a filter, no vector search.

        Args:
            strong: see every acknowledged write; on a server that takes 0.2 s, and without it milliseconds.
        """
        self.load()
        return list(
            call(
                self.client.query,
                self.collection,
                filter=expression,
                output_fields=list(output_fields),
                **(self._strong if strong else {}),
                **options,
            )
        )

    def get(self, ids: Sequence[int], output_fields: Sequence[str], strong: bool = True) -> dict[int, dict[str, Any]]:
        """Stored rows by id; unknown ids are left out. `strong` as in `query`."""
        self.load()
        found: dict[int, dict[str, Any]] = {}
        for part in chunked(ids, ROWS_PER_CALL):
            rows = call(
                self.client.get,
                self.collection,
                ids=list(part),
                output_fields=[schema.ID, *output_fields],
                **(self._strong if strong else {}),
            )
            found.update((row[schema.ID], row) for row in rows)
        return found

    def upsert(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Writes rows (all fields, embedding as float32[dim]); returns how many. Of a key given twice the last wins."""
        unique = list({row[schema.ID]: row for row in rows}.values())  # Milvus 2.3 stores both otherwise
        with _write_lock:
            for part in chunked(unique, ROWS_PER_CALL):
                call(self.client.upsert, self.collection, list(part))
        return len(unique)

    def search(
        self,
        embeddings: np.ndarray,
        limit: int,
        expression: str = "",
        output_fields: Sequence[str] = (),
        offset: int = 0,
    ) -> list[list[dict[str, Any]]]:
        """Nearest rows for each of float32[n, dim], best first, as {id, distance, entity: {field: value}}.

        Raises:
            InputError: Milvus does not understand the filter, or `offset + limit` is over 16,384.
        """
        if offset + limit > MAX_LIMIT:
            raise InputError(f"only the first {MAX_LIMIT} hits of a query can be reached, not {offset + limit}")
        self.load()
        hits = call(
            self.client.search,
            self.collection,
            list(np.asarray(embeddings, np.float32)),
            limit=limit,
            filter=expression,
            # Named always: without names Milvus Lite returns every field, the vector too, and a server none.
            output_fields=list(output_fields) or [schema.ID],
            search_params={"params": search_params(self.uri, self.index_type, offset + limit), "offset": offset},
        )
        return [list(part) for part in hits]

    @cached_property
    def index_type(self) -> str:
        """Type of the vector index."""
        return str(self._index().get("index_type", "FLAT"))

    def _index(self) -> dict[str, Any]:
        names = call(self.client.list_indexes, self.collection)
        return call(self.client.describe_index, self.collection, names[0]) or {} if names else {}

    def _index_params(self, index_type: str) -> IndexParams:
        index = self.client.prepare_index_params()
        params = build_params(self.uri, index_type)
        index.add_index(schema.EMBEDDING, index_type=index_type, metric_type=schema.METRIC_TYPE, params=params)
        return index

    def info(self) -> CollectionInfo:
        """Everything `info` shows."""
        self.load()
        return CollectionInfo(
            self.collection, self.uri, self.count(), self.model(), self.dim(),
            self.index_type, str(self._index().get("metric_type", "")), self.fields(),
        )  # fmt: skip

    def flush(self) -> None:
        """Seals what was written: durable, fast to search, and counted."""
        with _write_lock:
            call(self.client.flush, self.collection)

    def optimize(self) -> None:
        """After a load: seal it, and change to the index that fits the number of rows."""
        self.flush()
        wanted = choose_index(self.uri, self.count())
        if not is_lite(self.uri) or wanted == self.index_type:
            return
        with _write_lock:
            call(self.client.release_collection, self.collection)
            call(self.client.drop_index, self.collection, schema.EMBEDDING)
            call(self.client.create_index, self.collection, self._index_params(wanted))
            call(self.client.load_collection, self.collection)
        self.__dict__.pop("index_type", None)

    def drop(self) -> None:
        """Removes the collection and all its rows."""
        with _write_lock:
            call(self.client.drop_collection, self.collection)
        self._loaded = False

    @property
    def _strong(self) -> dict[str, Any]:
        # A server answers from a second ago unless asked; Milvus Lite is always current.
        return {} if is_lite(self.uri) else {"consistency_level": "Strong"}


def hit_row(hit: Mapping[str, Any], output_fields: Sequence[str]) -> list[Any]:
    """A hit of `Store.search` as the hub's operator gives it: `[id, score, *output_fields]`."""
    return [hit[schema.ID], hit["distance"], *(hit["entity"].get(field) for field in output_fields)]


def chunked(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Slices of at most `size` items."""
    return (items[start : start + size] for start in range(0, len(items), size))
