"""The fields of a collection in Milvus, its version, and which columns it can store.

Version 2 stores with each image: all its sources, its id in the CSV if that is a text, the device of its file and the
precision of its embedding. Version 1 stores only the last source. It is searched as it is, and the first insert copies
its rows into a collection of version 2 (`indexing.rebuild`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import StoreError
from ..fields import EMBEDDING as EMBEDDING
from ..fields import ID as ID
from ..fields import KEY as KEY
from ..fields import PATH as PATH
from ..fields import SOURCE as SOURCE  # the CSVs and folders that list the row, as `join_sources` writes them
from ..fields import Field, FieldType, field_key, read_key

if TYPE_CHECKING:
    from pymilvus import CollectionSchema, MilvusClient

    from .index import Index

VERSION = 2

# Change detection compares these. Fields whose names start with an underscore are never shown.
MTIME_NS = "_mtime_ns"
SIZE = "_size"
MODEL = "_model"
HASH = "_hash"  # of the file's bytes: a copied or renamed image gets the stored embedding
DEVICE = "_device"  # st_dev of the file: files of a disk that is not mounted do not count as deleted
PRECISION = "_precision"  # of the embedding: fp32, bf16, fp16 or int8
_VERSION_FIELD = re.compile(r"_schema_(\d+)")
# The fields that version 1 lacks, with values that mean "unknown".
ADDED: dict[str, Any] = {KEY: "", DEVICE: -1, PRECISION: "", f"_schema_{VERSION}": 0}
# All fields of a row that are not columns.
SYSTEM = frozenset({ID, EMBEDDING, PATH, MTIME_NS, SIZE, MODEL, HASH, SOURCE, *ADDED})

MAX_TEXT_BYTES = 65_535  # Milvus's limit for VARCHAR; Milvus Lite counts characters, a server bytes

# Empty cells on a Milvus before 2.5, which has no NULL. It stores bools as INT8. (A server cannot read -2**63.)
SENTINELS: dict[FieldType, int | float] = {
    FieldType.INT: 1 - 2**63, FieldType.DATE: 1 - 2**63, FieldType.FLOAT: -1.7976931348623157e308, FieldType.BOOL: -1,
}  # fmt: skip


@dataclass(frozen=True)
class CollectionInfo:
    """A summary of a collection.

    model: the id of the model that made it, '' for an empty collection.
    unindexed_rows: rows that a server searches incompletely until it has built their index.
    """

    collection: str
    uri: str
    rows: int
    model: str
    dim: int
    index: Index
    fields: tuple[Field, ...]
    unindexed_rows: int = 0


def build_schema(client: MilvusClient, dim: int, fields: tuple[Field, ...], has_null: bool) -> CollectionSchema:
    """Build the schema of a new collection for embeddings of `dim` dimensions.

    Args:
        has_null: whether this Milvus can store NULL.
    """
    from pymilvus import DataType

    # No dynamic field: with one, a filter on a misspelt name would match nothing without an error.
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field(ID, DataType.INT64, is_primary=True)
    schema.add_field(EMBEDDING, DataType.FLOAT_VECTOR, dim=dim)
    schema.add_field(PATH, DataType.VARCHAR, max_length=MAX_TEXT_BYTES)
    schema.add_field(MTIME_NS, DataType.INT64)
    schema.add_field(SIZE, DataType.INT64)
    schema.add_field(MODEL, DataType.VARCHAR, max_length=256)
    schema.add_field(HASH, DataType.VARCHAR, max_length=32)
    schema.add_field(SOURCE, DataType.VARCHAR, max_length=MAX_TEXT_BYTES)
    schema.add_field(KEY, DataType.VARCHAR, max_length=MAX_TEXT_BYTES)
    schema.add_field(DEVICE, DataType.INT64)
    schema.add_field(PRECISION, DataType.VARCHAR, max_length=16)
    schema.add_field(f"_schema_{VERSION}", DataType.INT8)
    types = {FieldType.INT: DataType.INT64, FieldType.DATE: DataType.INT64, FieldType.FLOAT: DataType.DOUBLE}
    types[FieldType.BOOL] = DataType.BOOL if has_null else DataType.INT8
    for field in as_stored(fields, has_null):
        if field.type is FieldType.TEXT:
            schema.add_field(field.key, DataType.VARCHAR, max_length=MAX_TEXT_BYTES)
        else:
            schema.add_field(field.key, types[field.type], nullable=has_null)
    return schema


def as_stored(fields: Iterable[Field], has_null: bool) -> tuple[Field, ...]:
    """Return columns as a new collection has them: any cell can be empty."""
    return tuple(
        dataclasses.replace(
            field,
            has_gaps=field.type is not FieldType.TEXT,
            key=field_key(field.name, field.type, field.from_file, field.type is FieldType.BOOL and not has_null),
            nullable=has_null and field.type is not FieldType.TEXT,
        )
        for field in fields
    )


def read_version(description: Mapping[str, Any]) -> int:
    """Return the schema version of a collection, from `describe_collection`; 1 if it has none.

    Raises:
        StoreError: a newer version of this program made the collection.
    """
    found = [int(match[1]) for name in field_names(description) if (match := _VERSION_FIELD.fullmatch(name))]
    version = max(found, default=1)
    if version > VERSION:
        raise StoreError(
            f"collection '{description['collection_name']}' was made by a newer version of this program "
            f"(schema {version}, this one knows {VERSION}): upgrade it with pip install --upgrade towhee-image-search"
        )
    return version


def read_fields(description: Mapping[str, Any]) -> tuple[Field, ...]:
    """Return the columns of a collection, from `describe_collection`.

    `has_gaps` tells whether a cell can be empty. Version 1 could not store empty cells on servers before 2.5.

    Raises:
        StoreError: a newer version of this program made the collection.
    """
    version = read_version(description)
    return tuple(
        _read_field(field, version)
        for field in description["fields"]
        if field["name"] not in (ID, PATH) and not field["name"].startswith("_") and _type(field, "") is not None
    )


def _read_field(field: Mapping[str, Any], version: int) -> Field:
    key, nullable = field["name"], bool(field.get("nullable"))
    name, flags = read_key(key) if version > 1 else (key, "")
    kind = _type(field, flags) or FieldType.TEXT
    has_gaps = nullable if version == 1 else kind is not FieldType.TEXT
    return Field(name, kind, has_gaps, key, "f" in flags, nullable)


def _type(field: Mapping[str, Any], flags: str) -> FieldType | None:
    """Return the type of a field that holds a column, None for any other field."""
    from pymilvus import DataType

    types = {DataType.DOUBLE: FieldType.FLOAT, DataType.FLOAT: FieldType.FLOAT, DataType.BOOL: FieldType.BOOL}
    types |= {DataType.VARCHAR: FieldType.TEXT}
    types |= dict.fromkeys((DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64), FieldType.INT)
    return FieldType.DATE if "d" in flags else FieldType.BOOL if "b" in flags else types.get(field["type"])


def read_dim(description: Mapping[str, Any]) -> int:
    """Return the dimension of the embeddings, from `describe_collection`."""
    vector = next(field for field in description["fields"] if field["name"] == EMBEDDING)
    return int(vector["params"]["dim"])


def field_names(description: Mapping[str, Any]) -> list[str]:
    """Return the names of all fields, from `describe_collection`."""
    return [field["name"] for field in description["fields"]]


def encode(row: Mapping[str, Any], fields: Iterable[Field]) -> dict[str, Any]:
    """Return a row as Milvus stores it, complete.

    Args:
        fields: the columns that store empty cells as a sentinel, because this Milvus has no NULL.
    """
    complete = {**ADDED, **row}
    for field in fields:
        value = row[field.key]
        if value is None:
            complete[field.key] = SENTINELS[field.type]
        elif field.type is FieldType.BOOL:
            complete[field.key] = int(value)
    return complete


def decode(row: dict[str, Any], fields: Iterable[Field]) -> dict[str, Any]:
    """Undo `encode`, in place, for the fields that the row has."""
    for field in fields:
        if field.key in row:
            value = row[field.key]
            is_bool = field.type is FieldType.BOOL
            row[field.key] = None if value == SENTINELS[field.type] else bool(value) if is_bool else value
    return row


def join_sources(names: Iterable[str]) -> str:
    """Return a row's field SOURCE for the names of its sources: one as it is, several each between line feeds."""
    unique = list(dict.fromkeys(names))
    return unique[0] if len(unique) == 1 else "\n" + "".join(f"{name}\n" for name in unique) if unique else ""


def split_sources(text: str) -> tuple[str, ...]:
    """Return the names of a row's sources: the inverse of `join_sources`."""
    return tuple(text[1:-1].split("\n")) if text.startswith("\n") else (text,) if text else ()
