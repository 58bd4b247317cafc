"""Segments of Milvus Lite that keep in memory only what searches need: one copy of the vectors and no list of keys."""

from __future__ import annotations

import os
import threading
from functools import cached_property
from typing import Any, ClassVar
from weakref import WeakSet

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from milvus_lite.index.factory import load_index_from_spec
from milvus_lite.storage.segment import Segment

from .exact import Exact

# Maximum number of segments that keep their file open. A process may usually open 1,024. Other segments are read whole.
MAX_OPEN_FILES = 256


class LazySegment(Segment):  # type: ignore[misc, unused-ignore]
    """A segment that reads its vectors and creates its Python objects on first use.

    Its file stays open, so that a reader can still finish after compaction has deleted the file. Windows cannot delete
    open files; there, and beyond `MAX_OPEN_FILES`, everything is read at once and kept.
    """

    _with_open_file: ClassVar[WeakSet[LazySegment]] = WeakSet()
    _table: pa.Table | None
    exact_indexes: dict[str, Exact | None]

    def __init__(self) -> None:
        """Do nothing: `load` creates a segment."""

    @classmethod
    def load(cls, file_path: str, partition: str, pk_field: str, vector_field: str | None) -> Any:
        """Open a data file and read everything but its vectors."""
        self: Any = cls()
        self.file_path, self.partition = file_path, partition
        self._pk_field, self._vector_field = pk_field, vector_field or ""
        self.index, self.indexes, self.scalar_indexes, self.sparse_indexes = None, {}, {}, {}
        self._vector_data_by_field, self.vector_null_mask = {}, None
        self.exact_indexes = {}
        self._file, self._table, self._reading = pa.OSFile(file_path), None, threading.Lock()
        parquet = _parquet(self._file, file_path)
        self.schema = parquet.schema_arrow
        self.vector_names = {field.name for field in self.schema if pa.types.is_fixed_size_list(field.type)}
        self.scalars = parquet.read([name for name in self.schema.names if name not in self.vector_names])
        self.seqs = self.scalars.column("_seq").to_numpy().astype(np.uint64, copy=False)
        self._keeps_table = os.name != "posix" or len(cls._with_open_file) >= MAX_OPEN_FILES
        if self._keeps_table:
            self._table = self.table
            self._file.close()
        else:
            cls._with_open_file.add(self)
        return self

    @property
    def num_rows(self) -> int:
        """Rows in the file, dead ones included."""
        return int(self.scalars.num_rows)

    @cached_property
    def pks(self) -> list[Any]:
        """Primary keys by row."""
        return list(self.scalars.column(self._pk_field).to_pylist())

    @cached_property
    def pk_to_row(self) -> dict[Any, int]:
        """Rows by primary key."""
        return {pk: row for row, pk in enumerate(self.scalars.column(self._pk_field).to_pylist())}

    @property
    def table(self) -> pa.Table:
        """All columns. The vectors are read once and kept until an index is attached."""
        with self._reading:
            if self._table is None:
                # Opened again: a ParquetFile keeps buffers as large as the data that it has read.
                vectors = _parquet(self._file, self.file_path).read(sorted(self.vector_names))
                parts = {True: vectors, False: self.scalars}
                columns = [parts[name in self.vector_names].column(name) for name in self.schema.names]
                self._table = pa.table(columns, schema=self.schema)
            return self._table

    @property
    def vectors(self) -> np.ndarray:
        """float32[rows, dim] of the first vector field, float32[rows, 0] without one."""
        no_vectors = np.zeros((self.num_rows, 0), np.float32)
        return self.vector_data(self._vector_field)[0] if self._vector_field else no_vectors

    def attach_index(self, index: Any, field_name: str | None = None) -> None:
        """Attach an index and drop the vectors: the index has its own copy."""
        super().attach_index(index, field_name)
        self.exact_indexes[field_name or self._vector_field] = Exact.of(index)
        if not self._keeps_table:
            with self._reading:
                self._table = None
            self._vector_data_by_field.clear()

    def release_index(self, field_name: str | None = None) -> None:
        """Drop the index of a field, or all indexes."""
        super().release_index(field_name)
        self.exact_indexes = {name: kept for name, kept in self.exact_indexes.items() if name in self.indexes}

    def build_or_load_index(self, spec: Any, index_dir: str) -> None:
        """Do as Milvus Lite does, but load a stored index without reading the vectors."""
        name = spec.field_name
        path = self.index_file_path(index_dir, spec.index_type, name)
        if name in self.indexes or not os.path.exists(path):
            super().build_or_load_index(spec, index_dir)
        else:
            self.attach_index(load_index_from_spec(spec, path, self.schema.field(name).type.list_size), name)

    def null_mask(self, field_name: str) -> np.ndarray | None:
        """Return the mask of the rows that have a vector; None if all have one."""
        return self.vector_data(field_name)[1] if self.schema.field(field_name).nullable else None


def _parquet(file: pa.NativeFile, path: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except pa.ArrowInvalid as error:  # unlike that of `pq.read_table`, it does not name the file
        raise pa.ArrowInvalid(f"Could not open Parquet input source '{path}': {error}") from error
