"""Which rows of a source are new, which changed, which are stored already: so that a second run does no work twice."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..milvus import schema
from ..milvus.store import Store
from ..sources.source import Row


@dataclass(frozen=True, slots=True)
class Pending:
    """A row to embed: all that is stored beside the embedding, and whether the collection has its id already."""

    row: Row
    entity: dict[str, Any]
    is_new: bool


@dataclass
class Comparison:
    """A chunk of rows, sorted by what has to be done."""

    pending: list[Pending] = field(default_factory=list)
    rejected: list[tuple[Row, str]] = field(default_factory=list)
    unchanged: int = 0


class Comparer:
    """Compares rows with a collection by path, modification time, size and fields."""

    def __init__(self, store: Store, model_tag: str) -> None:
        self._store = store
        self._model_tag = model_tag
        self._defaults = {stored.name: stored.default for stored in store.fields()}
        self._compared = [schema.PATH, schema.MTIME_NS, schema.SIZE, schema.MODEL, *self._defaults]

    def compare(self, rows: Sequence[Row]) -> Comparison:
        """One look-up for the whole chunk."""
        stored = self._store.get([row.id for row in rows], self._compared)
        result = Comparison()
        for row in rows:
            reason = _unstorable(row)
            if reason:
                result.rejected.append((row, reason))
                continue
            entity = self._entity(row)
            before = stored.get(row.id)
            if before is not None and all(before.get(name) == entity[name] for name in self._compared):
                result.unchanged += 1
            else:
                result.pending.append(Pending(row, entity, is_new=before is None))
        return result

    def _entity(self, row: Row) -> dict[str, Any]:
        mtime_ns, size = _stat(row.path)
        own = {schema.ID: row.id, schema.PATH: row.path, schema.MODEL: self._model_tag}
        return {**own, schema.MTIME_NS: mtime_ns, schema.SIZE: size, **self._defaults, **row.fields}


def _stat(path: str) -> tuple[int, int]:
    """Modification time in ns and size in bytes; zeros where there is no file (decoding will say why)."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _unstorable(row: Row) -> str:
    """Why Milvus could not keep this row, or ''."""
    for name, value in {schema.PATH: row.path, **row.fields}.items():
        if not isinstance(value, str):
            continue
        try:
            length = len(value.encode())
        except UnicodeEncodeError:
            return "the file name is not valid UTF-8; rename the file"
        if length > schema.MAX_TEXT_BYTES:
            return f"column '{name}' is longer than {schema.MAX_TEXT_BYTES} bytes"
    return ""
