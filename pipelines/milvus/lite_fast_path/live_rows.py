"""Which rows are live: neither superseded by a newer version nor deleted.

This depends only on the segments, the deletes and the memtable. NumPy and Arrow compute it once, and readers share the
result until one of these changes. The result takes one byte per row and set of partitions, and only for segments with
dead rows. Computing it takes about 40 bytes per row.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from milvus_lite.storage.segment import _extract_vector_array

from . import untouched
from .segment import LazySegment

# Maximum number of sets of partitions whose live rows are kept. An application searches one or two sets.
MAX_SCOPES = 4


class MemtableRows(NamedTuple):
    """The rows that are not flushed yet. Readers use it like a `LazySegment`."""

    table: pa.Table
    keys: list[Any]
    seqs: np.ndarray  # uint64[rows]
    deletes: dict[Any, int]  # deleted keys and their sequence numbers
    indexes: Mapping[str, Any] = MappingProxyType({})
    exact_indexes: Mapping[str, Any] = MappingProxyType({})
    scalar_indexes: Mapping[str, Any] = MappingProxyType({})
    vector_names: frozenset[str] = frozenset()

    @property
    def num_rows(self) -> int:
        return len(self.keys)

    @property
    def scalars(self) -> pa.Table:
        return self.table

    def vector_data(self, field_name: str) -> tuple[np.ndarray, None]:
        return _extract_vector_array(self.table.column(field_name))[0], None

    def null_mask(self, field_name: str) -> None:
        return None


class Source(NamedTuple):
    """A segment or the memtable's rows, and a mask that selects some of its rows: bool[rows], None for all."""

    segment: Any
    mask: np.ndarray | None


class LiveRows:
    """The live rows of a set of segments, shared by readers.

    Replaces the copy of the delete index that Milvus Lite makes for each read.
    """

    def __init__(self, pk_name: str, key: tuple[Any, ...], deletes: dict[Any, int]) -> None:
        self.pk_name, self.key, self.deletes = pk_name, key, deletes
        self.segments: tuple[LazySegment, ...] = key[0]
        self._lock = threading.Lock()
        self._scopes: dict[frozenset[str] | None, tuple[list[Source], MemtableRows, list[Source]]] = {}

    def is_deleted(self, pk: Any, seq: int) -> bool:
        """Whether a flushed delete is newer than this version of a row."""
        return self.deletes.get(pk, -1) > seq

    def sources(self, memtable: Any, partition_names: Sequence[str] | None) -> list[Source]:
        """Return the live rows: segments in Milvus Lite's order, then the memtable. Empty ones are left out."""
        partitions = frozenset(partition_names) if partition_names else None
        pending = _memtable_rows(memtable, partition_names)
        with self._lock:
            kept = self._scopes.get(partitions)
            if kept is None or kept[1] is not pending:
                flushed = kept[0] if kept else self._compare_segments(partitions)
                if len(self._scopes) >= MAX_SCOPES:
                    self._scopes.clear()
                kept = self._scopes[partitions] = (flushed, pending, self._compare_memtable(flushed, pending))
            return kept[2]

    def _compare_segments(self, partitions: frozenset[str] | None) -> list[Source]:
        segments = [s for s in self.segments if s.num_rows and (partitions is None or s.partition in partitions)]
        if not segments:
            return []
        chunks = [chunk for segment in segments for chunk in segment.scalars.column(self.pk_name).chunks]
        encoded = pa.chunked_array(chunks).dictionary_encode().chunks
        keys, codes = encoded[-1].dictionary, np.concatenate([chunk.indices for chunk in encoded])  # it only grows
        seqs = np.concatenate([segment.seqs for segment in segments])
        newest = np.zeros(len(keys), np.uint64)
        np.maximum.at(newest, codes, seqs)
        live = seqs == newest[codes]
        if self.deletes:
            at = _positions(pa.array(list(self.deletes), keys.type), keys)
            deleted = np.zeros(len(keys), np.uint64)
            deleted[at[at >= 0]] = np.array(list(self.deletes.values()), np.uint64)[at >= 0]
            live &= deleted[codes] <= seqs
        ends = np.cumsum([segment.num_rows for segment in segments])
        masks = [live[end - segment.num_rows : end] for segment, end in zip(segments, ends, strict=True)]
        return [Source(s, None if mask.all() else mask.copy()) for s, mask in zip(segments, masks, strict=True)]

    def _compare_memtable(self, flushed: list[Source], pending: MemtableRows) -> list[Source]:
        if not pending.num_rows and not pending.deletes:
            return flushed
        keys = pa.array([*pending.keys, *pending.deletes], pending.table.schema.field(self.pk_name).type)
        seqs = np.concatenate([pending.seqs, np.array(list(pending.deletes.values()), np.uint64)])
        newest, sources = seqs.copy(), []
        for segment, mask in flushed:
            at = _positions(segment.scalars.column(self.pk_name), keys)
            rows = np.flatnonzero(at >= 0)
            np.maximum.at(newest, at[rows], segment.seqs[rows])
            stale = rows[segment.seqs[rows] < seqs[at[rows]]]
            if stale.size:
                mask = np.ones(segment.num_rows, bool) if mask is None else mask.copy()
                mask[stale] = False
            sources.append(Source(segment, mask))
        if pending.num_rows:
            live = newest[: pending.num_rows] == pending.seqs
            if self.deletes:
                versions = zip(pending.keys, pending.seqs.tolist(), strict=True)
                live &= [not self.is_deleted(pk, seq) for pk, seq in versions]
            sources.append(Source(pending, None if live.all() else live))
        return sources


def _positions(values: Any, keys: pa.Array) -> np.ndarray:
    """Return the position of each value in `keys`, -1 if it is not there."""
    return np.asarray(pc.fill_null(pc.index_in(values, value_set=keys), -1))


def _memtable_rows(memtable: Any, partition_names: Sequence[str] | None) -> MemtableRows:
    scope = None if partition_names is None else frozenset(partition_names)
    with memtable._lock:
        kept: dict[Any, MemtableRows] = memtable.__dict__.setdefault("_rows_by_scope", {})
        if scope not in kept:
            if len(kept) >= MAX_SCOPES:
                kept.clear()
            kept[scope] = _read_memtable(memtable, scope)
        return kept[scope]


def _read_memtable(memtable: Any, scope: frozenset[str] | None) -> MemtableRows:
    deletes = {pk: seq for pk, (seq, _) in memtable._delete_index.items()}
    if not memtable._pk_index:
        return MemtableRows(memtable._data_schema.empty_table(), [], np.zeros(0, np.uint64), deletes)
    starts = np.cumsum([0, *(batch.num_rows for batch in memtable._insert_batches)]).tolist()
    rows = [starts[batch] + row for batch, row, _ in memtable._pk_index.values()]
    table = pa.Table.from_batches(memtable._insert_batches).take(rows)
    if scope is not None:
        table = table.filter(pc.is_in(table.column("_partition"), pa.array(sorted(scope), pa.string())))
    table = table.drop_columns("_partition").combine_chunks()
    return MemtableRows(table, table.column(memtable._pk_name).to_pylist(), table.column("_seq").to_numpy(), deletes)


def apply_insert(self: Any, batch: pa.RecordBatch) -> None:
    """Replace `MemTable.apply_insert`."""
    with self._lock:
        self._rows_by_scope = {}
        untouched["apply_insert"](self, batch)


def apply_delete(self: Any, batch: pa.RecordBatch) -> None:
    """Replace `MemTable.apply_delete`."""
    with self._lock:
        self._rows_by_scope = {}
        untouched["apply_delete"](self, batch)


def add_batch(self: Any, batch: pa.RecordBatch) -> None:
    """Replace `DeltaIndex.add_batch`. (Deletes are dropped only together with their rows, which changes no result.)"""
    self._generation = getattr(self, "_generation", 0) + 1
    untouched["add_batch"](self, batch)


def read_snapshot(self: Any) -> tuple[tuple[Any, ...], Any]:
    """Replace `Collection._read_snapshot`: return the same `LiveRows` until segments or flushed deletes change."""
    with self._maintenance_lock:
        segments = tuple(self._segment_cache.values())
        if not all(isinstance(segment, LazySegment) for segment in segments):  # opened before `apply`
            snapshot: tuple[tuple[Any, ...], Any] = untouched["_read_snapshot"](self)
            return snapshot
        key = (segments, self._delta_index, getattr(self._delta_index, "_generation", 0))
        live = self.__dict__.get("_live_rows")
        if live is None or live.key != key:
            live = self._live_rows = LiveRows(self._pk_name, key, dict(self._delta_index._map))
        return segments, live
