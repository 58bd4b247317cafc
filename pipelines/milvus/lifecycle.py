"""A collection as a whole: made by `schema.py`, loaded, described, indexed, renamed, dropped."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..errors import CollectionNotFound, InputError, StoreError, StoreFull
from . import schema
from .connection import call, connect, is_lite, normalise_uri
from .index import AUTO, FLAT_BELOW, Index, build_params, settle
from .lite import delete_index_files, writing

if TYPE_CHECKING:
    from pymilvus import MilvusClient
    from pymilvus.milvus_client import IndexParams

INSERT_COMMAND = "python -m pipelines insert CSV_OR_FOLDER"
# Accepted by servers that then never finish them (2.3's own package, for one): built last, and not for ever.
SLOW_BUILDS = frozenset({"DISKANN"})
SLOW_BUILD_SECONDS = 900


@dataclass(frozen=True)
class CollectionInfo:
    """What `info` prints."""

    collection: str
    uri: str
    rows: int
    model: str
    dim: int
    index: Index
    fields: tuple[schema.Field, ...]

    @property
    def metric(self) -> str:
        """Metric type of the index."""
        return self.index.metric


class CollectionBase:
    """Cheap to make; connects on first use; may be shared by threads."""

    def __init__(self, uri: str, name: str, token: str = "") -> None:
        self.uri, self.name, self.token = uri, name, token
        self._loaded = False

    @cached_property
    def client(self) -> MilvusClient:
        """The process's client for this Milvus."""
        return connect(self.uri, self.token)

    def exists(self) -> bool:
        """Whether the collection is there. Looking does not create a Milvus Lite file."""
        if is_lite(self.uri) and not os.path.exists(normalise_uri(self.uri)):
            return False
        return call(self.client.has_collection, self.name)

    def create(self, dim: int, fields: tuple[schema.Field, ...], wanted: Index | None = None) -> None:
        """Makes an empty collection for embeddings of `dim` dimensions and loads it.

        Raises:
            InputError: a number column has empty cells and this Milvus (before 2.5) cannot store NULL.
        """
        definition = schema.build_schema(self.client, dim, fields)
        index = settle(self.uri, wanted or Index(), rows=0)
        if index.type in SLOW_BUILDS:  # made when all is in, with a limit on the time
            index = settle(self.uri, Index(metric=index.metric), rows=0)
        params = self._index_params(index)
        with writing(self.uri):
            try:
                call(self.client.create_collection, self.name, schema=definition, index_params=params)
            except StoreError:
                if not self.exists():  # made by a first try whose answer was lost
                    raise
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
        if not call(self.client.list_indexes, self.name):  # a run was killed while it changed the index
            self._create_index(settle(self.uri, Index(), rows=0))
        try:
            call(self.client.load_collection, self.name)
        except StoreError as error:
            # An index file that a crash left half-written stops every load; the index is built again from the rows.
            if not is_lite(self.uri) or not delete_index_files(self.uri, self.name):
                raise
            try:
                call(self.client.load_collection, self.name)
            except StoreError:
                raise error from None
        if is_lite(self.uri):  # rows replayed from the log are searched one by one in Python, 50 µs each
            with suppress(StoreFull):  # too little space to write is no reason not to read
                self.flush()
        self._loaded = True

    def describe(self) -> dict[str, Any]:
        """Milvus's own description of the collection.

        Raises:
            CollectionNotFound: it does not exist.
        """
        if not self.exists():
            raise CollectionNotFound(
                f"there is no collection '{self.name}' in {self.uri}; fill it with: {INSERT_COMMAND}"
            )
        return call(self.client.describe_collection, self.name)

    def fields(self) -> tuple[schema.Field, ...]:
        """The CSV columns stored beside each image."""
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
        if not schema.is_own(self.describe()):
            raise StoreError(f"collection '{self.name}' was not made by this program; choose another (--collection)")
        rows = self.query("", [schema.MODEL], limit=1)
        return str(rows[0][schema.MODEL]) if rows else ""

    def refuse_older_program(self) -> None:
        """Raises StoreError for a collection whose rows lack what a second run compares."""
        if schema.HASH not in {field["name"] for field in self.describe()["fields"]}:
            raise StoreError(
                f"collection '{self.name}' was made by an earlier version of this program: "
                "insert into another collection (--collection), or drop this one"
            )

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
                self.name,
                filter=expression,
                output_fields=list(output_fields),
                **(self._strong if strong else {}),
                **options,
            )
        )

    @cached_property
    def index(self) -> Index:
        """The vector index as it is."""
        names = call(self.client.list_indexes, self.name)
        return Index.described(call(self.client.describe_index, self.name, names[0]) or {} if names else {})

    @cached_property
    def _is_own(self) -> bool:
        return schema.is_own(self.describe())

    def _index_params(self, index: Index) -> IndexParams:
        params = self.client.prepare_index_params()
        params.add_index(schema.EMBEDDING, index_type=index.type, metric_type=index.metric, params=build_params(index))
        return params

    def _create_index(self, index: Index) -> None:
        """Builds it and waits. A build of minutes breaks the call; the repeated one then finds the index there."""
        options = {"timeout": SLOW_BUILD_SECONDS} if index.type in SLOW_BUILDS else {}
        try:
            call(self.client.create_index, self.name, self._index_params(index), **options)
        except StoreError as error:
            if "already exist" not in str(error):
                raise

    def info(self) -> CollectionInfo:
        """Everything `info` shows."""
        self.load()
        return CollectionInfo(
            self.name, self.uri, self.count(), self.model(), self.dim(),
            self.index, self.fields(),
        )  # fmt: skip

    def flush(self) -> None:
        """Seals what was written: durable, fast to search, and counted."""
        with writing(self.uri):
            call(self.client.flush, self.name)

    def optimize(self, wanted: Index | None = None) -> None:
        """After a load: change to the index that is wanted, or that fits the number of rows.

        Raises:
            StoreError: the index cannot be built; the collection keeps the one it has.
        """
        if wanted is None:
            if not is_lite(self.uri) or self.index.type != "FLAT" or self.count() < FLAT_BELOW:
                return
            wanted = Index(AUTO)
        target = settle(self.uri, wanted, self.count(), self.index)
        if target != self.index:
            self._change_index(self.index, target)

    def _change_index(self, current: Index, target: Index) -> None:
        with writing(self.uri):
            call(self.client.release_collection, self.name)
            call(self.client.drop_index, self.name, schema.EMBEDDING)
            try:
                self._create_index(target)
            except StoreError as error:
                with suppress(StoreError):
                    call(self.client.release_collection, self.name)
                    call(self.client.drop_index, self.name, schema.EMBEDDING)
                self._create_index(current)
                raise StoreError(
                    f"index {target} could not be built ({error}); the collection keeps {current}"
                ) from error
            finally:
                self.__dict__.pop("index", None)
                call(self.client.load_collection, self.name)

    def drop(self) -> None:
        """Removes the collection and all its rows."""
        with writing(self.uri, takes_space=False):
            call(self.client.drop_collection, self.name)
        self._loaded = False

    def rename(self, name: str) -> None:
        """Gives the collection another name. A server takes it as it is; Milvus Lite keeps it loaded."""
        with writing(self.uri):
            call(self.client.rename_collection, self.name, name)
        self.name = name

    @property
    def _strong(self) -> dict[str, Any]:
        # A server answers from a second ago unless asked; Milvus Lite is always current.
        return {} if is_lite(self.uri) else {"consistency_level": "Strong"}
