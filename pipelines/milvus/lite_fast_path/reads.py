"""Milvus Lite's query, get and count on `live_rows`. Each reads only the requested columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from milvus_lite.adapter.grpc import servicer
from milvus_lite.engine.projection import build_projection_plan, decode_meta, project_record
from milvus_lite.search.filter import evaluate_mask

from . import untouched
from .live_rows import LiveRows, Source

Row = dict[str, Any]

# Number of cells that take as long to read one by one as a single `take`.
_FEW_ROWS = 32


def query(
    self: Any, expr: str | None = None, output_fields: list[str] | None = None,
    partition_names: list[str] | None = None, limit: int | None = None, offset: int = 0,
    timezone: str | None = None, order_by_pk: bool = False,
) -> list[Row]:  # fmt: skip
    """Replace `Collection.query`."""
    sources = _select(self, expr, partition_names, timezone) if isinstance(expr, str | None) else None
    if sources is None:
        request = (expr, output_fields, partition_names, limit, offset, timezone, order_by_pk)
        answer: list[Row] = untouched["query"](self, *request)
        return answer
    plan = build_projection_plan(output_fields, self._schema, api_kind="query")
    rows = [np.arange(segment.num_rows) if mask is None else np.flatnonzero(mask) for segment, mask in sources]
    picks = np.concatenate([
        np.zeros((0, 2), np.intp), *(np.column_stack([np.full(len(part), at), part]) for at, part in enumerate(rows))
    ])  # fmt: skip
    if order_by_pk and len(picks):
        keys = [s.segment.scalars.column(self._pk_name).take(part) for s, part in zip(sources, rows, strict=True)]
        order = pc.sort_indices(pa.chunked_array([chunk for column in keys for chunk in column.chunks]))
        picks = picks[np.asarray(order)]
    if limit is not None:
        picks = picks[: max(1, offset + limit)]  # Milvus Lite checks the limit only after it has taken a row
    return _project(self, [source.segment for source in sources], picks[offset:], plan)


def get(
    self: Any, pks: list[Any], partition_names: list[str] | None = None, expr: str | None = None,
    output_fields: list[str] | None = None, timezone: str | None = None,
) -> list[Row]:  # fmt: skip
    """Replace `Collection.get`."""
    segments, live = self._read_snapshot()
    if expr or not isinstance(pks, list) or not isinstance(live, LiveRows):
        answer: list[Row] = untouched["get"](self, pks, partition_names, expr, output_fields, timezone)
        return answer
    self._require_loaded()
    plan = build_projection_plan(output_fields, self._schema, api_kind="get")
    partitions = set(partition_names) if partition_names else None
    searched = [(at, s) for at, s in enumerate(segments) if partitions is None or s.partition in partitions]
    found: list[Row | None] = []
    picks: list[tuple[int, int]] = []
    for pk in pks:
        pending = self._memtable.get(pk, partition_filter=partitions)
        if pending is not None:
            found.append(project_record(pending, self._schema, plan))
        elif not self._memtable.is_locally_deleted(pk):
            versions = [(int(s.seqs[s.pk_to_row[pk]]), -at) for at, s in searched if pk in s.pk_to_row]
            seq, at = max(versions, default=(-1, 0))
            if versions and not live.is_deleted(pk, seq):
                found.append(None)
                picks.append((-at, segments[-at].pk_to_row[pk]))
    stored = iter(_project(self, segments, picks, plan))
    return [next(stored) if row is None else row for row in found]


def num_entities(self: Any, partition_names: list[str] | None) -> int:
    """Replace `Collection._num_entities`."""
    _, live = self._read_snapshot()
    if not isinstance(live, LiveRows):
        answer: int = untouched["_num_entities"](self, partition_names)
        return answer
    return _count(live.sources(self._memtable, partition_names))


def read_columns(collection: Any, names: list[str]) -> list[pa.Table] | None:
    """Return whole columns of the live rows; None for a collection opened before `apply`. Replaces no function."""
    sources = _select(collection, None, None, None)
    if sources is None:
        return None
    tables = [(segment.scalars.select(names), mask) for segment, mask in sources]
    return [table if mask is None else table.filter(pa.array(mask)) for table, mask in tables]


def answer_query(self: Any, request: Any, context: Any) -> Any:
    """Replace `MilvusServicer.Query`: count rows that match a filter without reading them. All else is unchanged."""
    sources = None
    if request.expr and "count(*)" in request.output_fields:
        with suppress(Exception):  # the original function hits the same error and reports it
            timezone = servicer._extract_timezone(request.query_params)
            collection = self._get_collection(request, context)
            sources = _select(collection, request.expr, list(request.partition_names) or None, timezone)
    if sources is None:
        return untouched["Query"](self, request, context)
    counted = servicer.schema_pb2.FieldData(field_name="count(*)", type=servicer.schema_pb2.DataType.Int64)
    counted.scalars.long_data.data.append(_count(sources))
    return servicer.milvus_pb2.QueryResults(
        status=servicer.common_pb2.Status(**servicer.success_status_kwargs()),
        fields_data=[counted], collection_name=collection.name, output_fields=["count(*)"],
    )  # fmt: skip


def _select(collection: Any, expr: str | None, partitions: Any, timezone: str | None) -> list[Source] | None:
    """Return the live rows that match a filter; None for a collection opened before `apply`."""
    collection._require_loaded()
    compiled = collection._compile_filter(expr, timezone=timezone) if expr else None
    plan = collection._indexed_filter_plan(compiled)
    _, live = collection._read_snapshot()
    if not isinstance(live, LiveRows):
        return None
    sources = live.sources(collection._memtable, partitions)
    return [Source(source.segment, matching(source, compiled, plan)) for source in sources]


def _count(sources: list[Source]) -> int:
    return sum(segment.num_rows if mask is None else int(mask.sum()) for segment, mask in sources)


def matching(source: Source, compiled: Any, plan: Any) -> np.ndarray | None:
    """Return the mask of the live rows that match a compiled filter (None: no filter)."""
    segment, mask = source
    if compiled is None:
        return mask
    if plan is not None and plan.required_fields <= segment.scalar_indexes.keys():
        return both(mask, plan.evaluate(segment.scalar_indexes).astype(bool, copy=False))
    return both(mask, evaluate_mask(compiled, _table_with(segment, compiled.fields)))


def both(mask: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    return other if mask is None else mask if other is None else mask & other


def _project(collection: Any, segments: Sequence[Any], picks: Any, plan: Any) -> list[Row]:
    """Return the picked rows in the form that a projection plan of Milvus Lite asks for."""
    if plan.include_all_dynamic or plan.explicit_dynamic_fields:
        return [project_record(row, collection._schema, plan) for row in read_rows(segments, picks, None)]
    return read_rows(segments, picks, [*plan.response_schema_fields, collection._pk_name])


def read_rows(segments: Sequence[Any], picks: Any, names: Sequence[str] | None) -> list[Row]:
    """Read columns `names` (None: all) of `picks`, int[n, 2] of segment and row, and unpack dynamic fields."""
    which, rows = np.asarray(picks, np.intp).reshape(-1, 2).T
    records: list[Row] = [{}] * len(rows)
    for at in np.unique(which).tolist():
        places = np.flatnonzero(which == at)
        table = _table_with(segments[at], names)
        stored = set(table.column_names) - {"_seq"}
        columns = [name for name in dict.fromkeys(table.column_names if names is None else names) if name in stored]
        for place, record in zip(places.tolist(), _records(table, columns, rows[places]), strict=True):
            record.update(decode_meta(record.get("$meta")))
            records[place] = record
    return records


def _records(table: pa.Table, names: Sequence[str], rows: np.ndarray) -> list[Row]:
    if len(rows) > _FEW_ROWS:
        records: list[Row] = table.select(names).take(rows).to_pylist()
        return records
    columns = [table.column(name) for name in names]
    return [{name: column[row].as_py() for name, column in zip(names, columns, strict=True)} for row in rows.tolist()]


def _table_with(segment: Any, names: Iterable[str] | None) -> pa.Table:
    """Return the segment's columns, with the vectors only if `names` contains one (None: all)."""
    return segment.table if names is None or not segment.vector_names.isdisjoint(names) else segment.scalars


class Faiss:
    """faiss for Milvus Lite's indexes, with bitmaps as selectors: a hash set of rows is slower than the search."""

    def __getattr__(self, name: str) -> Any:
        return getattr(faiss, name)

    def IDSelectorBatch(self, rows: np.ndarray) -> Any:
        """Return a selector of these rows, at least one."""
        mask = np.zeros(rows.max() + 1, bool)
        mask[rows] = True
        return self.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
