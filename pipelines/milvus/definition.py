"""The definition of a collection: its Milvus, its name, its fields and its index."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..errors import CollectionNotFound, InputError, StoreError
from ..fields import Field
from ..settings import split_credentials
from . import schema
from .calls import call
from .connection import connect, is_open, normalise_uri, server_version
from .index import Index, resolve
from .index_build import build_index, load_collection, read_index
from .lite import is_lite, writing
from .lite_damage import refuse_damage

if TYPE_CHECKING:
    from pymilvus import MilvusClient

_TOO_MANY_FIELDS = re.compile(r"maximum field.*limited to (\d+)")  # a server's proxy.maxFieldNum


class Definition:
    """A collection in Milvus, without its rows. Connects on first use. Threads can share it."""

    def __init__(self, uri: str | os.PathLike[str], name: str, token: str = "") -> None:
        self.uri, self.token = split_credentials(os.fspath(uri), token)
        self.name = name
        self._client: MilvusClient | None = None
        self._loaded = False

    def __deepcopy__(self, memo: object) -> Definition:
        """Return this collection itself: Towhee deep-copies the objects in a pipeline's declaration."""
        return self

    def __str__(self) -> str:
        return f"{self.uri} {self.name}"

    @cached_property
    def address(self) -> str:
        """The normalised URI of the Milvus."""
        return normalise_uri(self.uri)  # computed once: the working directory may change

    @property
    def client(self) -> MilvusClient:
        """The process's client for this Milvus; a new one if the previous one was closed."""
        if self._client is None or not is_open(self._client):
            self._client, self._loaded = connect(self.address, self.token), False
        return self._client

    @cached_property
    def has_null(self) -> bool:
        """Whether this Milvus can store NULL. Milvus Lite can, and servers since 2.5."""
        return is_lite(self.uri) or server_version(self.client) >= (2, 5)

    def exists(self) -> bool:
        """Return whether the collection exists. Does not create a Milvus Lite file.

        Raises:
            StoreError: its files are damaged.
        """
        if is_lite(self.uri) and not os.path.exists(self.address):
            return False
        client = self.client
        refuse_damage(self.address, self.name)
        return bool(call(client.has_collection, self.name))

    def create(self, dim: int, fields: tuple[Field, ...], requested: Index | None = None) -> None:
        """Create an empty collection for embeddings of `dim` dimensions.

        Raises:
            InputError: Milvus does not allow this many fields.
        """
        definition = schema.build_schema(self.client, dim, fields, self.has_null)
        with writing(self.uri):
            try:
                call(self.client.create_collection, self.name, schema=definition)
            except StoreError as error:
                if limit := _TOO_MANY_FIELDS.search(str(error)):
                    raise InputError(_refusal(len(definition.fields), int(limit[1]), fields)) from error
                if not self.exists():  # else the first attempt created it, and its answer was lost
                    raise
            build_index(self.client, self.name, resolve(self.uri, requested or Index(), rows=0), waits=False)
            call(self.client.load_collection, self.name)
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
        """Return the columns that are stored with each image.

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

    def refuse_older_program(self) -> None:
        """Raise StoreError if a version before 0.1 made the collection: its rows lack the hash that a run compares."""
        if schema.HASH not in schema.field_names(self.describe()):
            raise StoreError(
                f"collection '{self.name}' was made by an earlier version of this program: "
                "insert into another collection, or drop this one"
            )

    @cached_property
    def index(self) -> Index:
        """The current vector index."""
        return read_index(self.client, self.name)

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
        """Forget what this object has cached about the collection, because the collection was changed."""
        self._loaded = False
        for name in ("index", "is_own", "with_sentinel"):
            self.__dict__.pop(name, None)

    @cached_property
    def with_sentinel(self) -> tuple[Field, ...]:
        """The columns that store empty cells as a sentinel, because this Milvus has no NULL."""
        return tuple(field for field in self.fields() if field.has_gaps and not field.nullable)

    @cached_property
    def is_own(self) -> bool:
        """Whether this program made the collection."""
        return schema.MODEL in schema.field_names(self.describe())


def _refusal(count: int, limit: int, fields: Sequence[Field]) -> str:
    read = sum(field.from_file for field in fields)
    way_out = "leave columns of the table out"
    if count - read <= limit:
        way_out = "read fewer of them by --columns width,taken or none by --no-metadata"
    return (
        f"the collection would have {count} fields, {read} of them read from the files; Milvus takes {limit}: {way_out}"
    )
