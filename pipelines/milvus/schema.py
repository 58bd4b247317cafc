"""The fields of a collection in Milvus, its description, and which CSV columns it can store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..fields import EMBEDDING as EMBEDDING
from ..fields import ID as ID
from ..fields import PATH as PATH
from ..fields import SOURCE as SOURCE  # the CSV or folder that last listed the row: pruning compares it
from ..fields import Field, FieldType

if TYPE_CHECKING:
    from pymilvus import CollectionSchema, MilvusClient

    from .index import Index

# Change detection compares these. Fields whose names start with an underscore are never shown.
MTIME_NS = "_mtime_ns"
SIZE = "_size"
MODEL = "_model"
HASH = "_hash"  # of the file's bytes: a copied or renamed image gets the stored embedding

MAX_TEXT_BYTES = 65_535  # Milvus's limit for VARCHAR; Milvus Lite counts characters, a server bytes

_REMEDY = "insert into another collection, or drop this one"


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


def build_schema(client: MilvusClient, dim: int, fields: tuple[Field, ...]) -> CollectionSchema:
    """Build the schema of a new collection for embeddings of `dim` dimensions."""
    from pymilvus import DataType

    types = {FieldType.INT: DataType.INT64, FieldType.FLOAT: DataType.DOUBLE, FieldType.BOOL: DataType.BOOL}
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
    for field in fields:
        if field.type is FieldType.TEXT:
            schema.add_field(field.name, DataType.VARCHAR, max_length=MAX_TEXT_BYTES)
        else:
            schema.add_field(field.name, types[field.type], nullable=True)
    return schema


def read_fields(description: dict[str, Any]) -> tuple[Field, ...]:
    """Return the CSV columns of a collection, from `describe_collection`.

    Here `has_gaps` tells whether the field takes NULL, which servers before 2.5 drop from the schema silently.
    """
    from pymilvus import DataType

    types = {DataType.DOUBLE: FieldType.FLOAT, DataType.FLOAT: FieldType.FLOAT, DataType.BOOL: FieldType.BOOL}
    types |= {DataType.VARCHAR: FieldType.TEXT}
    types |= dict.fromkeys((DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64), FieldType.INT)
    return tuple(
        Field(field["name"], types[field["type"]], has_gaps=bool(field.get("nullable")))
        for field in description["fields"]
        if field["type"] in types and field["name"] not in (ID, PATH) and not field["name"].startswith("_")
    )


def read_dim(description: dict[str, Any]) -> int:
    """Return the dimension of the embeddings, from `describe_collection`."""
    vector = next(field for field in description["fields"] if field["name"] == EMBEDDING)
    return int(vector["params"]["dim"])


def field_names(description: dict[str, Any]) -> list[str]:
    """Return the names of all fields, from `describe_collection`."""
    return [field["name"] for field in description["fields"]]


def reconcile(source: tuple[Field, ...], stored: tuple[Field, ...]) -> tuple[Field, ...]:
    """Return the source's fields with the types under which a collection stores them.

    Raises:
        InputError: the collection lacks a column, or cannot store its values.
    """
    by_name = {field.name: field for field in stored}
    adopted = tuple(_adopt(field, by_name) for field in source)
    missing = by_name.keys() - {field.name for field in source}
    for target in stored:
        if target.name in missing and not (target.has_gaps or target.default == ""):
            raise InputError(
                f"there is no column '{target.name}' here, and this Milvus (before 2.5) cannot store a number field "
                f"without a value; add the column, or {_REMEDY}"
            )
    return adopted


def check_gaps(fields: tuple[Field, ...], stored: tuple[Field, ...]) -> None:
    """Check that a collection can store the empty cells of these fields.

    Raises:
        InputError: a number column has empty cells, and this Milvus (before 2.5) cannot store NULL.
    """
    nullable = {field.name for field in stored if field.has_gaps or field.type is FieldType.TEXT}
    for field in fields:
        if field.has_gaps and field.name not in nullable:
            raise InputError(
                f"column '{field.name}' has empty cells, which this Milvus (before 2.5) cannot store: fill them in"
            )


def _adopt(field: Field, stored: dict[str, Field]) -> Field:
    target = stored.get(field.name)
    if target is None:
        names = ", ".join(stored) or "none"
        raise InputError(f"the collection has no field '{field.name}' (its fields: {names}); {_REMEDY}")
    widens = (field.type, target.type) == (FieldType.INT, FieldType.FLOAT)
    if target.type not in (field.type, FieldType.TEXT) and not widens:
        raise InputError(
            f"column '{field.name}' is {field.type.value}, the collection stores {target.type.value}; {_REMEDY}"
        )
    check_gaps((field,), (target,))
    return Field(field.name, target.type, field.has_gaps)
