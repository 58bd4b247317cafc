"""The collection's schema: the fields every collection has, and how a CSV column becomes a typed field."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..fields import EMBEDDING as EMBEDDING
from ..fields import ID as ID
from ..fields import PATH as PATH
from ..fields import Field, FieldType

if TYPE_CHECKING:
    from pymilvus import CollectionSchema, MilvusClient

# What change detection needs; names that start with an underscore are never shown.
MTIME_NS = "_mtime_ns"
SIZE = "_size"
MODEL = "_model"
HASH = "_hash"  # of the file's bytes: a copied or renamed image takes the embedding that is there
SOURCE = "_source"  # the CSV or folder that last listed the row: what `--prune` compares with
OWN_FIELDS = frozenset({ID, EMBEDDING, PATH, MTIME_NS, SIZE, MODEL, HASH, SOURCE})

MAX_TEXT_BYTES = 65_535  # Milvus's limit for VARCHAR; Milvus Lite counts characters, a server bytes


def build_schema(client: MilvusClient, dim: int, fields: tuple[Field, ...]) -> CollectionSchema:
    """The schema of a new collection for embeddings of `dim` dimensions."""
    from pymilvus import DataType

    types = {FieldType.INT: DataType.INT64, FieldType.FLOAT: DataType.DOUBLE, FieldType.BOOL: DataType.BOOL}
    # No dynamic field: with one, a filter on a misspelt name matches nothing and says nothing.
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
    """The CSV fields of an existing collection, from `describe_collection`.

    `has_gaps` tells here whether the field takes NULL (servers before 2.5 drop the wish for it silently).
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


def is_own(description: dict[str, Any]) -> bool:
    """Whether `describe_collection` describes a collection of this program's making."""
    return MODEL in {field["name"] for field in description["fields"]}


def text_literal(text: str) -> str:
    """A string literal for a Milvus filter, safe on Milvus Lite and on servers (`filter_params` works on neither)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def list_literal(texts: Iterable[str]) -> str:
    """A list of string literals, for `in`."""
    return "[" + ", ".join(map(text_literal, texts)) + "]"


def reconcile(source: tuple[Field, ...], stored: tuple[Field, ...]) -> tuple[Field, ...]:
    """The source's fields with the types under which an existing collection stores them.

    Raises:
        InputError: a column the collection does not have, or values it cannot store.
    """
    by_name = {field.name: field for field in stored}
    way_out = "insert into another collection (--collection), or drop this one"
    adopted = []
    for field in source:
        target = by_name.get(field.name)
        if target is None:
            names = ", ".join(by_name) or "none"
            raise InputError(f"the collection has no field '{field.name}' (its fields: {names}); {way_out}")
        widens = target.type in (field.type, FieldType.TEXT) or (field.type, target.type) == (
            FieldType.INT,
            FieldType.FLOAT,
        )
        if not widens:
            raise InputError(
                f"column '{field.name}' is {field.type.value}, the collection stores {target.type.value}; {way_out}"
            )
        if field.has_gaps and not target.has_gaps and target.type is not FieldType.TEXT:
            raise InputError(cannot_store_gaps(field.name))
        adopted.append(Field(field.name, target.type, field.has_gaps))
    for target in stored:
        if target.name not in {field.name for field in source} and not (target.has_gaps or target.default == ""):
            raise InputError(
                f"there is no column '{target.name}' here, and this Milvus (before 2.5) cannot store a number field "
                f"without a value; add the column, or {way_out}"
            )
    return tuple(adopted)


def cannot_store_gaps(column: str) -> str:
    """The message for a number column with empty cells on a Milvus without NULL."""
    return f"column '{column}' has empty cells, which this Milvus (before 2.5) cannot store: fill them in"
