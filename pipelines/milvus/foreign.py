"""Collections that another program made, such as the Milvus quickstart or Towhee's tutorials: read, never written.

Such a collection has an id, one vector, often the image's path and other columns, some of them in its dynamic field.
It does not record which model made it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError, StoreError
from ..fields import PATH, PATH_COLUMNS, Field, FieldType
from . import schema
from .calls import call
from .collection import Collection

_SAMPLE = 100  # rows that are read to find the columns of a dynamic field and the length of the embeddings
_TYPES: dict[type, FieldType] = {bool: FieldType.BOOL, int: FieldType.INT, float: FieldType.FLOAT, str: FieldType.TEXT}


class Layout(NamedTuple):
    """What each field holds. `path` is '' if no field holds the images' paths."""

    vector: str
    dim: int
    path: str
    fields: tuple[Field, ...]


class ForeignCollection(Collection):
    """A collection of another program that reads like one of ours: constants stand for the fields that it lacks.

    Args:
        model_id: the model that made it, according to the user.
        paths: the image's path by id, if no field holds it.

    Raises:
        StoreError: its fields are not those of a collection of images.
    """

    def __init__(self, uri: str, name: str, token: str, model_id: str, paths: Mapping[int, str]) -> None:
        super().__init__(uri, name, token)
        self._model_id, self._paths = model_id, paths
        self.path_key = self.layout.path or schema.PATH

    def model(self, strong: bool = True) -> str:
        """Return the id of the model that the user named, '' for an empty collection."""
        return self._model_id if self.query("", [schema.ID], strong, limit=1) else ""

    def version(self) -> int:
        """Return 1: it has none of the fields that later versions added."""
        return 1

    def fields(self) -> tuple[Field, ...]:
        """Return the columns: fields of the schema, and the keys of the dynamic field in the first 100 rows."""
        return self.layout.fields

    def dim(self) -> int:
        """Return the dimension of the stored embeddings."""
        return self.layout.dim

    @cached_property
    def layout(self) -> Layout:
        """What each field holds.

        Raises:
            StoreError: the primary key is not a whole number named `id`, or there is not exactly one vector.
        """
        from pymilvus import DataType

        description = self.describe()
        key = next(field for field in description["fields"] if field.get("is_primary"))
        vectors = [field for field in description["fields"] if field["type"] == DataType.FLOAT_VECTOR]
        if key["name"] != schema.ID or key["type"] != DataType.INT64 or len(vectors) != 1:
            raise StoreError(
                f"collection '{self.name}' is not one of images: it needs an INT64 key named 'id' and one FLOAT_VECTOR"
            )
        own = {field.name: field for field in schema.read_fields(description)}
        if description.get("enable_dynamic_field"):
            own = {**self._dynamic_fields(), **own}
        there = {*own, *schema.field_names(description)}
        path = next((name for name in (PATH, *PATH_COLUMNS, "uri") if name in there), "")
        own.pop(path, None)
        return Layout(vectors[0]["name"], int(vectors[0]["params"]["dim"]), path, tuple(own.values()))

    def check(self, model: str, dim: int) -> None:
        """Check that a model can have made the collection.

        Raises:
            InputError: the dimensions differ, or the metric type needs embeddings of unit length, which these are not.
        """
        if self.dim() != dim:
            raise InputError(
                f"collection '{self.name}' holds embeddings of {self.dim()} dimensions, those of {model} have {dim}: "
                "another model made it"
            )
        rows = self.query("", [schema.EMBEDDING], limit=_SAMPLE)
        lengths = [float(np.linalg.norm(row[schema.EMBEDDING])) for row in rows]
        if self.index.metric != "COSINE" and max((abs(length - 1) for length in lengths), default=0) > 0.01:
            raise InputError(
                f"collection '{self.name}' has the metric type {self.index.metric} and embeddings that are not of unit "
                "length, so its scores are no cosines: make it with COSINE, or normalise them"
            )

    @property
    def _is_unit(self) -> bool:
        return True  # `check` makes sure

    def _stored_names(self, names: Iterable[str]) -> list[str]:
        stored = {schema.EMBEDDING: self.layout.vector, schema.PATH: self.layout.path}
        wanted = [stored.get(name, name) for name in names if not name.startswith("_")]
        return [name for name in wanted if name] or [schema.ID]

    def _decoded(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        constants = {schema.MODEL: self._model_id, schema.MTIME_NS: 0, schema.SIZE: 0, schema.HASH: ""}
        decoded = []
        for row in rows:
            found = {**constants, **{field.key: None for field in self.layout.fields}, **row}
            path = row.get(self.layout.path) if self.layout.path else self._paths.get(row.get(schema.ID, 0))
            found[schema.PATH] = path or ""
            if self.layout.vector in row:
                found[schema.EMBEDDING] = row[self.layout.vector]
            decoded.append(found)
        return decoded

    def _dynamic_fields(self) -> dict[str, Field]:
        self.load()
        rows = call(self.client.query, self.name, filter="", output_fields=["*"], limit=_SAMPLE)
        kinds: dict[str, set[type]] = {}
        for row in rows:
            for name, value in row.items():
                kinds.setdefault(name, set()).add(type(value))
        return {
            name: Field(name, _TYPES[kind], has_gaps=True, key=name)
            for name, types in kinds.items()
            if name != schema.ID and len(types) == 1 and (kind := next(iter(types))) in _TYPES
        }
