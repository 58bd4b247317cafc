"""Whole columns of a collection as an Arrow table: what orders, counts and facets are computed from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ..fields import Field, FieldType
from . import lite_fast_path
from .collection import Collection
from .lite import is_lite, lite_path
from .lite_mirror import opened_as
from .lite_server import lite_collection
from .server_columns import ServerColumns

if TYPE_CHECKING:
    import pyarrow as pa


def read_columns(
    collection: Collection, fields: Sequence[Field], on_progress: Callable[[int, int], None] = lambda done, rows: None
) -> pa.Table:
    """Return columns by their keys, one row an image, as int64, float64, bool or text; an empty cell is null or ''.

    Milvus Lite runs in this process and holds them as Arrow: a million rows take half a second. A server sends them.

    Args:
        on_progress: called with the rows that a server has sent, and all its rows.
    """
    import pyarrow as pa

    collection.load()
    schema = pa.schema([(field.key, arrow_type(field)) for field in fields])
    parts: Iterable[pa.Table] | None = None
    if not is_lite(collection.uri) and collection.is_own:
        parts = ServerColumns(collection, schema, on_progress).read()
    elif collection.is_own:
        opened = lite_collection(opened_as(lite_path(collection.uri)), collection.name)
        parts = lite_fast_path.read_columns(opened, schema.names)
    if parts is None:
        parts = (pa.Table.from_pylist(rows, schema) for rows in collection.scan("", schema.names))
    return pa.concat_tables([schema.empty_table(), *(part.cast(schema) for part in parts)])


def arrow_type(field: Field) -> pa.DataType:
    """Return the type of Arrow for a column."""
    import pyarrow as pa

    types = {FieldType.TEXT: pa.large_string(), FieldType.FLOAT: pa.float64(), FieldType.BOOL: pa.bool_()}
    return types.get(field.type, pa.int64())
