"""A folder of Parquet files as a collection: exported rows, or rows that were embedded without any Milvus.

A part is written as a whole and never appended to. If several rows have the same id, the one of the last part counts.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..fields import EMBEDDING, ID, Field
from ..models.model_id import is_compatible
from ..sources.source import WHOLE, Shard
from . import schema
from .calls import chunked
from .collection import SCAN_ROWS, Collection
from .index import Index
from .row_places import RowPlaces
from .vector_parts import (
    build_columns,
    describe,
    embeddings_of,
    find_parts,
    make_part,
    part_name,
    read_columns,
    read_part,
    rows_of,
    unit,
    write_part,
)  # fmt: skip

if TYPE_CHECKING:
    import pyarrow as pa

PART_ROWS = 20_000  # 40 MB at 512 dimensions
PART_SECONDS = 60.0  # a killed run loses no more than this
_CACHED_PARTS = 128  # maximum number of parts whose rows are kept in memory, without embeddings: some MB each


class VectorFolder(Collection):
    """Rows as Parquet files, with those methods of a collection that copying and indexing need.

    Args:
        folder: it need not exist.
        shard: the shard whose parts are read and written; None reads all parts, and writes parts of a whole source.
        half: write a new folder's embeddings as float16. They are read as float32 of unit length.

    Raises:
        InputError: a part is damaged or missing, or has other columns or another model than the first.
    """

    has_null = True
    is_own = True
    index = Index("", "COSINE")

    def __init__(self, folder: str | os.PathLike[str], shard: Shard | None = None, half: bool = False) -> None:
        self.address = os.path.realpath(os.path.expanduser(folder))
        super().__init__(self.address, os.path.basename(self.address))
        self._folder, self._shard, self._half = Path(self.address), shard or WHOLE, half
        self._lock = threading.RLock()
        self._rows = lru_cache(_CACHED_PARTS)(self._read_rows)
        self._embeddings = lru_cache(2)(lambda part: embeddings_of(self._read(self._parts[part], [EMBEDDING])))
        self._columns: pa.Schema | None = None
        self._model_id = ""
        self._parts: list[Path] = []
        self._places = RowPlaces()
        self._unwritten: dict[int, dict[str, Any]] = {}
        self._written_at = time.monotonic()
        for part in self._find_parts(shard):
            self._add(part)

    def __str__(self) -> str:
        return self.uri

    def exists(self) -> bool:
        """Return whether the folder holds parts, or was created."""
        return self._columns is not None

    def create(self, dim: int, fields: tuple[Field, ...], requested: Index | None = None) -> None:
        """Create the folder and set its columns."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._columns = build_columns(dim, schema.as_stored(fields, has_null=True), self._half)

    def load(self) -> None:
        """Do nothing: files are read as they are needed."""

    def describe(self) -> dict[str, Any]:
        """Return the description that Milvus would give of a collection with these columns."""
        return {"collection_name": self.name, "fields": describe(self._known_columns)}

    def model(self, strong: bool = True) -> str:
        """Return the id of the model that made the embeddings, '' for an empty folder."""
        return self._model_id

    def stored_vector(self, vector: np.ndarray) -> np.ndarray:
        """float32[dim] → float32[dim] as it comes back from the files."""
        is_half = str(self._known_columns.field(EMBEDDING).type.value_type) == "halffloat"
        return unit(vector.astype(np.float16)[None])[0] if is_half else vector

    def count(self, expression: str = "", strong: bool = True) -> int:
        """Count the rows that match an expression, see `query`."""
        with self._lock:
            if expression:
                return len(self.query(expression, []))
            return len(self._places) + sum(self._places.find(key) is None for key in self._unwritten)

    def query(
        self, expression: str, output_fields: Sequence[str], strong: bool = True, **options: Any
    ) -> list[dict[str, Any]]:
        """Return the rows that match one comparison with a literal (`==`, `!=`, `in`), or all. Option: `limit`."""
        found: list[dict[str, Any]] = []
        with self._lock:
            for rows in self._matching(expression, output_fields):
                found += rows
                if len(found) >= options.get("limit", np.inf):
                    return found[: options["limit"]]
        return found

    def get(self, ids: Sequence[int], output_fields: Sequence[str], strong: bool = True) -> dict[int, dict[str, Any]]:
        """Return rows by id; unknown ids are left out."""
        with self._lock:
            rows = {key: _pick(self._unwritten[key], output_fields) for key in ids if key in self._unwritten}
            places: dict[int, list[int]] = {}
            for part, at in filter(None, (self._places.find(key) for key in ids if key not in rows)):
                places.setdefault(part, []).append(at)
            for part, wanted in places.items():
                rows.update((row[ID], row) for row in self._take(part, np.array(wanted), output_fields))
        return {key: rows[key] for key in ids if key in rows}

    def scan(self, expression: str, output_fields: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """Yield all rows that match, see `query`, in lists of some thousand."""
        yield from self._matching(expression, output_fields)

    def upsert(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add rows. They are written when there are enough for a part, after a minute, or by `flush`."""
        new = {row[ID]: {**schema.ADDED, **row} for row in rows}
        with self._lock:
            self._unwritten |= new
            if len(self._unwritten) >= PART_ROWS or time.monotonic() > self._written_at + PART_SECONDS:
                self.flush()
        return len(new)

    def delete(self, ids: Sequence[int]) -> None:
        """Delete rows. The parts that hold them are rewritten."""
        with self._lock:
            self.flush()
            for number, path in enumerate(self._parts):
                keep = ~np.isin(self._places.ids[number], np.array(ids, np.int64))
                if not keep.all():
                    write_part(path, self._read(path).filter(keep))
                    self._places.keep(number, keep)
            self._rows.cache_clear()
            self._embeddings.cache_clear()

    def flush(self) -> None:
        """Write the rows that are not written yet."""
        with self._lock:
            self._written_at = time.monotonic()
            for rows in chunked(list(self._unwritten.values()), PART_ROWS):
                path = self._folder / part_name(self._shard, len(self._parts) + 1)
                write_part(path, make_part(self._known_columns, rows))
                self._add(path)
            self._unwritten = {}

    def optimize(self, requested: Index | None = None, wait: bool = True) -> None:
        """Do nothing: files have no index."""

    @property
    def _known_columns(self) -> pa.Schema:
        if self._columns is None:
            raise InputError(f"there are no vectors in {self.uri}: export into it, or insert with --to")
        return self._columns

    def _find_parts(self, shard: Shard | None) -> list[Path]:
        return find_parts(self._folder, shard)

    def _columns_of(self, part: Path) -> pa.Schema:
        return read_columns(part)

    def _read(self, part: Path, names: Sequence[str] | None = None) -> pa.Table:
        return read_part(part, names)

    def _read_rows(self, part: int) -> pa.Table:
        names = [name for name in self._known_columns.names if name != EMBEDDING]
        return rows_of(self._read(self._parts[part], names))

    def _add(self, path: Path) -> None:
        """Add a part; check that its columns and its model match those of the others."""
        columns = self._columns_of(path)
        if self._parts and not columns.equals(self._columns, check_metadata=True):
            raise InputError(f"{path} has other columns than {self._parts[0].name}: give each source its own folder")
        self._columns = columns
        self._parts.append(path)
        own = self._read(path, [ID, schema.MODEL])
        for model_id in own[schema.MODEL].unique().to_pylist():
            if not is_compatible(self._model_id, model_id):
                raise InputError(f"{path} was made by {model_id}, the parts before it by {self._model_id}")
            self._model_id = self._model_id or model_id
        self._places.add(own[ID].to_numpy())

    def _matching(self, expression: str, names: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """Yield the matching rows: those of each part, then those that are not written yet."""
        field, matches = _read_comparison(expression)
        for part in range(len(self._parts)):
            at = self._places.of_part(part)
            at = at[~np.isin(self._places.ids[part][at], np.array([*self._unwritten], np.int64))]
            if field:
                cells = self._rows(part)[field].take(at).to_pylist()
                at = at[np.fromiter(map(matches, cells), bool, len(at))]
            for start in range(0, len(at), SCAN_ROWS):
                yield self._take(part, at[start : start + SCAN_ROWS], names)
        yield [_pick(row, names) for row in self._unwritten.values() if not field or matches(row[field])]

    def _take(self, part: int, at: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
        cells = self._rows(part).select([ID, *(name for name in names if name not in (ID, EMBEDDING))])
        rows: list[dict[str, Any]] = cells.take(at).to_pylist()
        if EMBEDDING in names:
            for row, vector in zip(rows, self._embeddings(part)[at], strict=True):
                row[EMBEDDING] = vector
        return rows


def _read_comparison(expression: str) -> tuple[str, Callable[[Any], bool]]:
    """Parse an expression as indexing writes it: a field, an operator and a literal, which is also valid JSON."""
    if not expression:
        return "", bool
    field, operator, literal = expression.split(" ", 2)
    value = json.loads(literal, strict=False)
    if operator == "in":
        return field, frozenset(value).__contains__
    return field, value.__eq__ if operator == "==" else value.__ne__


def _pick(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: row[name] for name in (ID, *names)}
