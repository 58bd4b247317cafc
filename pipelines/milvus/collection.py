"""A collection: its rows and its description."""

from __future__ import annotations

import os
from collections.abc import Collection as Sized
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CollectionNotFound, InputError, StoreError
from ..fields import Field
from ..query import MAX_LIMIT
from ..settings import split_credentials
from . import schema
from .connection import call, chunked, connect, is_open, normalise_uri, server_version
from .filter_expression import list_literal
from .index import (
    AUTO,
    EXACT_SEGMENT_ROWS,
    Index,
    cosine,
    index_params,
    is_server,
    load_collection,
    read_index,
    replace_index,
    resolve,
    search_params,
    unindexed_rows,
    wait_for_index,
)
from .lite import is_lite, writing
from .lite_damage import refuse_damage
from .schema import CollectionInfo

if TYPE_CHECKING:
    from pymilvus import MilvusClient

SCAN_ROWS = 4000  # with vectors: 8 MB at 512 dimensions


class Collection:
    """One collection of a Milvus. Connects on first use. Threads can share it."""

    path_key = schema.PATH  # the field that holds the paths

    def __init__(self, uri: str | os.PathLike[str], name: str, token: str = "") -> None:
        self.uri, self.token = split_credentials(os.fspath(uri), token)
        self.name = name
        self._client: MilvusClient | None = None
        self._loaded = False

    def __deepcopy__(self, memo: object) -> Collection:
        """Return this collection itself: Towhee deep-copies what a pipeline's declaration holds."""
        return self

    @cached_property
    def _address(self) -> str:
        return normalise_uri(self.uri)  # once: the working directory may change

    @property
    def client(self) -> MilvusClient:
        """The process's client for this Milvus; another one, if it was closed meanwhile."""
        if self._client is None or not is_open(self._client):
            self._client, self._loaded = connect(self._address, self.token), False
        return self._client

    @cached_property
    def has_null(self) -> bool:
        """Whether this Milvus can store NULL: Milvus Lite, and servers from 2.5 on."""
        return is_lite(self.uri) or server_version(self.client) >= (2, 5)

    def exists(self) -> bool:
        """Return whether the collection exists. Does not create a Milvus Lite file.

        Raises:
            StoreError: its files are damaged.
        """
        if is_lite(self.uri) and not os.path.exists(self._address):
            return False
        client = self.client
        refuse_damage(self._address, self.name)
        return bool(call(client.has_collection, self.name))

    def create(self, dim: int, fields: tuple[Field, ...], requested: Index | None = None) -> None:
        """Create an empty collection for embeddings of `dim` dimensions."""
        definition = schema.build_schema(self.client, dim, fields, self.has_null)
        params = index_params(self.client, resolve(self.uri, requested or Index(), rows=0))
        with writing(self.uri):
            try:
                call(self.client.create_collection, self.name, schema=definition, index_params=params)
            except StoreError:
                if not self.exists():  # else a first try created it, and its answer was lost
                    raise
        self.forget()

    def load(self) -> None:
        """Make the collection searchable: Milvus Lite releases every collection when it starts.

        Raises:
            CollectionNotFound: the collection does not exist.
        """
        client = self.client
        if self._loaded:
            return
        self.describe()
        load_collection(client, self.uri, self.name)
        self._loaded = True

    def describe(self) -> dict[str, Any]:
        """Return Milvus's own description of the collection.

        Raises:
            CollectionNotFound: the collection does not exist.
        """
        if not self.exists():
            message = f"there is no collection '{self.name}' in {self.uri}"
            raise CollectionNotFound(message, uri=self.uri, collection=self.name)
        return call(self.client.describe_collection, self.name)

    def fields(self) -> tuple[Field, ...]:
        """Return the columns stored beside each image.

        Raises:
            StoreError: a newer version of this program made the collection.
        """
        return schema.read_fields(self.describe())

    def version(self) -> int:
        """Return the version of the collection's schema."""
        return schema.read_version(self.describe())

    def dim(self) -> int:
        """Return the dimension of the stored embeddings."""
        return schema.read_dim(self.describe())

    def model(self, strong: bool = True) -> str:
        """Return the id of the model that made the embeddings, '' for an empty collection. `strong` as in `query`.

        Raises:
            StoreError: another program made the collection, with other fields.
        """
        if not self.is_own:
            raise StoreError(f"collection '{self.name}' was not made by this program; choose another collection")
        rows = self.query("", [schema.MODEL], strong, limit=1)
        return str(rows[0][schema.MODEL]) if rows else ""

    def refuse_older_program(self) -> None:
        """Raise StoreError if a version before 0.1 made the collection: its rows lack what a second run compares."""
        if schema.HASH not in schema.field_names(self.describe()):
            raise StoreError(
                f"collection '{self.name}' was made by an earlier version of this program: "
                "insert into another collection, or drop this one"
            )

    def info(self, strong: bool = True) -> CollectionInfo:
        """Return everything that `info` shows. `strong` as in `query`."""
        self.load()
        waiting = 0
        if is_server(self.uri) and self.index.type != "FLAT":
            waiting = unindexed_rows(self.client, self.name, EXACT_SEGMENT_ROWS + 1)
        return CollectionInfo(
            self.name,
            self.uri,
            self.count(strong=strong),
            self.model(strong),
            self.dim(),
            self.index,
            self.fields(),
            waiting,
        )

    def count(self, expression: str = "", strong: bool = True) -> int:
        """Count the rows that match a filter expression. `strong` as in `query`."""
        rows = self.query(expression, ["count(*)"], strong)
        return int(rows[0]["count(*)"])

    def query(
        self, expression: str, output_fields: Sequence[str], strong: bool = True, **options: Any
    ) -> list[dict[str, Any]]:
        """Return the rows that match a filter expression, without a vector search.

        Args:
            strong: see every acknowledged write. On a server this takes 0.2 s; without it milliseconds.
        """
        self.load()
        names = self._stored_names(output_fields)
        options |= self._consistency(strong)
        rows = call(self.client.query, self.name, filter=expression, output_fields=names, **options)
        return self._decoded(rows)

    def get(self, ids: Sequence[int], output_fields: Sequence[str], strong: bool = True) -> dict[int, dict[str, Any]]:
        """Return stored rows by id, without unknown ids. `strong` as in `query`."""
        self.load()
        names, options = self._stored_names([schema.ID, *output_fields]), self._consistency(strong)
        found: dict[int, dict[str, Any]] = {}
        for part in chunked(ids):
            rows = call(self.client.get, self.name, ids=list(part), output_fields=names, **options)
            found.update((row[schema.ID], row) for row in self._decoded(rows))
        return found

    def rows_of_contents(self, hashes: Sized[str], output_fields: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Return content hash → rows with this content, ordered by id, without unknown hashes."""
        found: dict[str, list[dict[str, Any]]] = {}
        for part in chunked(sorted(hashes)):
            rows = self.query(f"{schema.HASH} in {list_literal(part)}", [schema.ID, schema.HASH, *output_fields])
            for row in sorted(rows, key=lambda row: row[schema.ID]):
                found.setdefault(row[schema.HASH], []).append(row)
        return found

    def scan(self, expression: str, output_fields: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """Yield all rows that match, ordered by id, in lists of some thousand. Holds all ids and one list in memory.

        Ordered, because a collection lists its rows in an order that differs between parallel inserts.
        """
        if is_lite(self.uri):  # its own iterator looks at every key again for each page
            ids = sorted(row[schema.ID] for row in self.query(expression, [schema.ID]))
            for part in chunked(ids):
                found = self.get(part, output_fields) if output_fields else {key: {schema.ID: key} for key in part}
                yield [found[key] for key in part if key in found]
            return
        # An iterator takes no consistency level, but after a strong read it sees the latest writes too.
        self.count()
        names = self._stored_names([schema.ID, *output_fields])
        iterator = call(
            self.client.query_iterator, self.name, batch_size=SCAN_ROWS, filter=expression, output_fields=names
        )
        try:
            while rows := call(iterator.next):
                yield self._decoded(rows)
        finally:
            iterator.close()

    def search(
        self, embeddings: np.ndarray, limit: int, expression: str = "", output_fields: Sequence[str] = ()
    ) -> list[list[list[Any]]]:
        """Return the nearest rows for each of float32[n, dim], best first, each as `[id, score, *output_fields]`.

        The score is the cosine, whatever the metric type. In another program's collection it is Milvus's distance.

        Raises:
            InputError: Milvus does not understand the filter expression, or `limit` is over 16,384.
        """
        if limit > MAX_LIMIT:  # a server returns no more
            raise InputError(f"only the first {MAX_LIMIT} hits of a query can be reached, not {limit}")
        self.load()
        hits = call(
            self.client.search,
            self.name,
            list(np.asarray(embeddings, np.float32)),
            limit=limit,
            filter=expression,
            # Always named: without names Milvus Lite returns every field, the vector too, and a server none.
            output_fields=self._stored_names(output_fields) or [schema.ID],
            search_params={"params": search_params(self.uri, self.index.type, limit, bool(expression))},
        )
        metric = self.index.metric if self.index.metric == "L2" and self._is_unit else ""
        found = []
        for part in hits:
            rows = self._decoded([{schema.ID: hit[schema.ID], **hit["entity"]} for hit in part])
            scores = [cosine(metric, hit["distance"]) for hit in part]
            cells = [list(map(row.get, output_fields)) for row in rows]
            found.append([[row[schema.ID], score, *own] for row, score, own in zip(rows, scores, cells, strict=True)])
        return found

    def upsert(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Write rows (all fields, embedding as float32[dim]) and return how many. The last row of an id wins.

        Raises:
            StoreFull: the disk under a Milvus Lite file is full, or about to be.
        """
        unique = list({row[schema.ID]: row for row in rows}.values())  # Milvus 2.3 would store all rows of an id
        with writing(self.uri):
            for part in chunked(unique):
                call(self.client.upsert, self.name, [schema.encode(row, self._with_sentinel) for row in part])
        return len(unique)

    def delete(self, ids: Sequence[int]) -> None:
        """Delete rows by id; ignores unknown ids."""
        with writing(self.uri):
            for part in chunked(ids):
                call(self.client.delete, self.name, ids=list(part))

    def flush(self) -> None:
        """Seal what was written: it is then durable, fast to search, and counted."""
        with writing(self.uri):
            call(self.client.flush, self.name)

    @cached_property
    def index(self) -> Index:
        """The present vector index."""
        return read_index(self.client, self.name)

    def optimize(self, requested: Index | None = None) -> None:
        """Change to the requested index, or to the one that suits the number of rows now.

        Raises:
            StoreError: the index cannot be built; the collection keeps the present one.
        """
        if requested is None:
            requested = Index(AUTO) if is_lite(self.uri) and self.index.type == "FLAT" else Index()
        target = resolve(self.uri, requested, self.count(), self.index)
        if target != self.index:
            with writing(self.uri):
                try:
                    replace_index(self.client, self.name, self.index, target)
                finally:
                    self.__dict__.pop("index", None)  # to be read again
        if is_server(self.uri) and self.index.type != "FLAT":
            wait_for_index(self.client, self.name)

    def drop(self) -> None:
        """Remove the collection and all its rows."""
        with writing(self.uri, takes_space=False):
            call(self.client.drop_collection, self.name)
        self.forget()

    def rename(self, name: str) -> None:
        """Give the collection another name."""
        with writing(self.uri):
            call(self.client.rename_collection, self.name, name)
        self.name = name
        self.forget()

    def forget(self) -> None:
        """Ask Milvus again for what this object knows of the collection, because it was changed."""
        self._loaded = False
        for name in ("index", "is_own", "_with_sentinel"):
            self.__dict__.pop(name, None)

    @property
    def _is_unit(self) -> bool:
        """Whether all embeddings are known to have length 1."""
        return self.is_own

    def _stored_names(self, names: Iterable[str]) -> list[str]:
        """Return the fields of Milvus that hold these."""
        return list(names)

    def _decoded(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [schema.decode(row, self._with_sentinel) for row in rows] if self._with_sentinel else list(rows)

    @cached_property
    def _with_sentinel(self) -> tuple[Field, ...]:
        """The columns whose empty cells are a sentinel, because this Milvus has no NULL."""
        return tuple(field for field in self.fields() if field.has_gaps and not field.nullable)

    @cached_property
    def is_own(self) -> bool:
        """Whether this program made the collection."""
        return schema.MODEL in schema.field_names(self.describe())

    def _consistency(self, strong: bool) -> dict[str, Any]:
        """A server answers from a second ago unless asked for strong consistency; Milvus Lite is always current."""
        return {"consistency_level": "Strong"} if strong and not is_lite(self.uri) else {}
