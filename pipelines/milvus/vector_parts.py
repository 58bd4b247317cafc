"""The parts of a folder of vectors: Parquet files of some thousand rows, with their columns and embeddings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..fields import EMBEDDING, ID, PATH, Field, FieldType
from ..files import write_atomically
from ..sources.source import Shard
from . import schema

if TYPE_CHECKING:
    import pyarrow as pa

_NAME = re.compile(r"part-(\d+)-of-(\d+)-(\d+)\.parquet")
_NUMBERS = (schema.MTIME_NS, schema.SIZE, schema.DEVICE, f"_schema_{schema.VERSION}")
_TEXTS = (schema.MODEL, schema.HASH, schema.SOURCE, schema.KEY, schema.PRECISION)


def part_name(shard: Shard, number: int) -> str:
    """Return the name of a shard's part, counted from 1: `part-003-of-016-000001.parquet`."""
    return f"part-{shard.number:03}-of-{shard.of:03}-{number:06}.parquet"


def find_parts(folder: Path, shard: Shard | None) -> list[Path]:
    """Return the parts of one shard, or of all, in the order in which they were written.

    Raises:
        InputError: a part is missing, or all parts of a shard.
    """
    found: dict[Shard, set[int]] = {}
    for match in filter(None, (_NAME.fullmatch(path.name) for path in folder.glob("part-*.parquet"))):
        found.setdefault(Shard(int(match[1]), int(match[2])), set()).add(int(match[3]))
    expected = {shard} if shard else {Shard(number, of) for _, of in found for number in range(1, of + 1)}
    parts = []
    for one in sorted(expected):
        numbers = found.get(one, set())
        last = max(numbers, default=0 if shard else 1)
        if lost := set(range(1, last + 1)) - numbers:
            raise InputError(f"{folder / part_name(one, min(lost))} is missing: restore it, or run its shard again")
        parts += [folder / part_name(one, number) for number in sorted(numbers)]
    return parts


def build_columns(dim: int, fields: Iterable[Field], half: bool) -> pa.Schema:
    """Return the columns of a part. A collection's column keeps its own name; its key in Milvus is in the metadata."""
    import pyarrow as pa

    types = {FieldType.INT: pa.int64(), FieldType.FLOAT: pa.float64(), FieldType.BOOL: pa.bool_()}
    types |= {FieldType.TEXT: pa.string(), FieldType.DATE: pa.timestamp("ms")}
    fields = tuple(fields)
    taken = schema.SYSTEM | {field.key for field in fields if field.key != field.name}
    own = [
        pa.field(field.key if field.name in taken else field.name, types[field.type], True, {"key": field.key})
        for field in fields
    ]
    vector = pa.field(EMBEDDING, pa.list_(pa.float16() if half else pa.float32(), dim))
    rest = [pa.field(name, pa.string()) for name in _TEXTS] + [pa.field(name, pa.int64()) for name in _NUMBERS]
    return pa.schema([pa.field(ID, pa.int64()), pa.field(PATH, pa.string()), *own, vector, *rest])


def key_of(column: pa.Field) -> str:
    """Return a column's key: the name of its field in Milvus."""
    return str(((column.metadata or {}).get(b"key") or column.name.encode()).decode())


def describe(columns: pa.Schema) -> list[dict[str, Any]]:
    """Return the columns as Milvus describes the fields of a collection."""
    import pyarrow as pa
    from pymilvus import DataType

    types = {pa.float64(): DataType.DOUBLE, pa.bool_(): DataType.BOOL, pa.string(): DataType.VARCHAR}
    types |= dict.fromkeys((pa.int64(), pa.timestamp("ms")), DataType.INT64)
    return [
        {
            "name": key_of(column), "type": types.get(column.type, DataType.FLOAT_VECTOR),
            "nullable": not pa.types.is_string(column.type),
            "params": {"dim": column.type.list_size} if column.name == EMBEDDING else {},
        }
        for column in columns
    ]  # fmt: skip


def make_part(columns: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows, each with all fields of Milvus, as a table."""
    import pyarrow as pa

    arrays = []
    for column in columns:
        cells = [row[key_of(column)] for row in rows]
        if column.name == EMBEDDING:
            numbers = np.asarray(cells, np.float32).astype(column.type.value_type.to_pandas_dtype())
            arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), type=column.type))
        else:
            is_date = pa.types.is_timestamp(column.type)
            arrays.append(pa.array(cells, pa.int64() if is_date else column.type).cast(column.type))
    return pa.Table.from_arrays(arrays, schema=columns)


def write_part(path: Path, part: pa.Table) -> None:
    """Write a part atomically, with a checksum for each of its pages."""
    from pyarrow import parquet

    packed = [name for name in part.column_names if name != EMBEDDING]
    compression = {**dict.fromkeys(packed, "zstd"), f"{EMBEDDING}.list.element": "none"}
    options = {"compression": compression, "use_dictionary": packed, "write_page_checksum": True}
    write_atomically(path, lambda temporary: parquet.write_table(part, temporary, **options))


def read_part(path: Path, names: Sequence[str] | None = None) -> pa.Table:
    """Return some columns of a part, or all.

    Raises:
        InputError: the part is damaged.
    """
    from pyarrow import parquet

    with _damage(path):
        return parquet.read_table(path, columns=names, page_checksum_verification=True)


def read_columns(path: Path) -> pa.Schema:
    """Return the columns of a part. Raises as `read_part`."""
    from pyarrow import parquet

    with _damage(path):
        return parquet.read_schema(path)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error


def rows_of(part: pa.Table) -> pa.Table:
    """Return a part without its embeddings, under the names of Milvus and with dates as numbers."""
    import pyarrow as pa

    columns = [column for column in part.schema if column.name != EMBEDDING]
    cells = [part[column.name].cast(pa.int64()) if pa.types.is_timestamp(column.type) else part[column.name]
             for column in columns]  # fmt: skip
    return pa.Table.from_arrays(cells, names=list(map(key_of, columns)))


def embeddings_of(part: pa.Table) -> np.ndarray:
    """Return float32[n, dim]; embeddings that are stored as float16 get unit length again."""
    column = part[EMBEDDING].combine_chunks()
    matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)
    return unit(matrix) if matrix.dtype == np.float16 else np.asarray(matrix)


def unit(vectors: np.ndarray) -> np.ndarray:
    """float[n, dim] → float32[n, dim] of unit length; a vector of zeros stays as it is."""
    exact = np.asarray(vectors, np.float32)
    length = np.linalg.norm(exact, axis=1, keepdims=True)
    return np.asarray(exact / np.where(length > 0, length, 1), np.float32)
