"""Whole columns of a collection as an Arrow table, from which sort orders, counts and facets are computed.

The arrays of a server's answer are used directly: making Python rows takes fifteen times as long as copying the cells.
A query with a limit returns at most 16,384 rows, and each part of the collection reads that many for it. A query for a
range of ids reads only what it returns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import StoreError, StoreUnavailable
from ..fields import Field, FieldType
from . import lite_fast_path
from .calls import call
from .collection import Collection
from .filter_expression import ALL
from .lite import is_lite, lite_path
from .lite_mirror import opened_as
from .lite_server import lite_collection
from .literals import for_server
from .schema import ID, SENTINELS

if TYPE_CHECKING:
    import pyarrow as pa

# Rows per answer: a few MB of the 64 MB that a server may send.
_ROWS = 50_000
# Parallel queries: the server works on the next one while an answer is unpacked.
_AT_A_TIME = 2
# Seconds after which a server that is silent, or cannot be reached, is an error.
_ANSWER_SECONDS = 180.0
_GONE_SECONDS = 5.0
_LEAST, _MOST = -(2**63), 2**63 - 1


def read_columns(
    collection: Collection, fields: Sequence[Field], on_progress: Callable[[int, int], None] = lambda done, rows: None
) -> pa.Table:
    """Return columns by their keys, one row per image, as int64, float64, bool or text; an empty cell is null or ''.

    Milvus Lite holds them as Arrow in this process: a million rows take half a second. A server has to send them.

    Args:
        on_progress: called with the number of rows that a server has sent, and the number of all rows.
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
    """Return the Arrow type of a column."""
    import pyarrow as pa

    types = {FieldType.TEXT: pa.large_string(), FieldType.FLOAT: pa.float64(), FieldType.BOOL: pa.bool_()}
    return types.get(field.type, pa.int64())


class _Range(NamedTuple):
    """A range of ids, including the first and the last."""

    first: int
    last: int

    def halves(self) -> tuple[_Range, _Range]:
        middle = (self.first + self.last) // 2
        return _Range(self.first, middle), _Range(middle + 1, self.last)

    def __str__(self) -> str:
        first = [f"{ID} >= {self.first}"] if self.first > _LEAST else []
        last = [f"{ID} <= {for_server(str(self.last))}"] if self.last < _MOST else []
        return " and ".join(first + last) or ALL


class ServerColumns:
    """Reads columns of one collection from a server.

    Args:
        on_progress: called with the number of rows read so far and the number of all rows, by one thread at a time.
    """

    def __init__(self, collection: Collection, schema: pa.Schema, on_progress: Callable[[int, int], None]) -> None:
        self._collection, self._schema, self._on_progress = collection, schema, on_progress
        self._sentinels = {field.key: SENTINELS[field.type] for field in collection.with_sentinel}
        self._lock = threading.Lock()
        self._done = 0

    def read(self) -> Iterator[pa.Table]:
        """Yield the columns of all rows, in parts.

        Raises:
            StoreError: the server cannot be reached, or refuses.
        """
        self._on_progress(0, self._collection.count())  # a strong read: later answers hold the latest writes, too
        ids = np.sort(np.concatenate([part.column(0).to_numpy() for part in self._parts(_Range(_LEAST, _MOST), [ID])]))
        starts = [_LEAST, *ids[_ROWS::_ROWS].tolist(), _MOST + 1]
        ranges = [_Range(start, end - 1) for start, end in pairwise(starts)]

        def read(ids_: _Range) -> list[pa.Table]:
            parts = list(self._parts(ids_, self._schema.names))
            with self._lock:
                self._done += sum(part.num_rows for part in parts)
                self._on_progress(self._done, max(self._done, len(ids)))
            return parts

        with ThreadPoolExecutor(_AT_A_TIME, "columns") as threads:
            for parts in threads.map(read, ranges):
                yield from parts

    def _parts(self, ids: _Range, names: list[str]) -> Iterator[pa.Table]:
        """Yield the rows of a range of ids. Query its halves if the server refuses to send so long an answer."""
        try:
            answer = call(self._ask, str(ids), names, timeout=_ANSWER_SECONDS, deadline=_GONE_SECONDS)
        except StoreUnavailable:
            raise
        except StoreError:
            if ids.first == ids.last:
                raise
            for half in ids.halves():
                yield from self._parts(half, names)
            return
        yield self._table(answer, names)

    def _ask(self, expression: str, names: list[str], timeout: float) -> Any:
        """Query as pymilvus does, but return the answer as the server sent it."""
        from pymilvus.client.prepare import Prepare
        from pymilvus.client.utils import check_status

        client = self._collection.client
        metadata = client._generate_call_context().to_grpc_metadata()
        request = Prepare.query_request(self._collection.name, expression, names, [], guarantee_timestamp=1)
        answer = client._handler._stub.Query(request, timeout=timeout, metadata=metadata)
        check_status(answer.status)
        return answer

    def _table(self, answer: Any, names: list[str]) -> pa.Table:
        import pyarrow as pa

        found = {field.field_name: field for field in answer.fields_data}
        schema = pa.schema([self._schema.field(name) for name in names])
        return pa.table([self._cells(found[name], schema.field(name).type) for name in names], schema=schema)

    def _cells(self, field: Any, kind: pa.DataType) -> pa.Array:
        """Return the cells of one column; empty cells are null."""
        import pyarrow as pa

        data: Any = list(getattr(field.scalars, field.scalars.WhichOneof("data") or "long_data").data)
        empty = ~np.asarray(field.valid_data, bool) if field.valid_data else None
        if field.field_name in self._sentinels:
            data = np.asarray(data)
            empty = data == self._sentinels[field.field_name]
        return pa.array(data, mask=empty).cast(kind)
