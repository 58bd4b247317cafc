"""Which rows of a source are new, which changed, which are stored already: so that a second run does no work twice."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..fetch.read import is_remote
from ..milvus import schema
from ..milvus.collection import Collection
from ..sources.source import Row
from .contents import hash_files

# What a new value of means that the file has to be looked at again.
_FILE = (schema.PATH, schema.MTIME_NS, schema.SIZE, schema.MODEL)


@dataclass(slots=True)
class Changed:
    """A row to write: all that is stored beside the embedding, and what the collection has under its id."""

    row: Row
    entity: dict[str, Any]
    before: dict[str, Any] | None
    fetch_again: bool = False  # only fetching it would tell whether it changed

    @property
    def content(self) -> str:
        """Hash of the file's bytes, '' where there is no file to read."""
        return str(self.entity[schema.HASH])

    @property
    def keeps_embedding(self) -> bool:
        """The image is what it was: only other fields are new."""
        before = self.before
        return (
            before is not None
            and not self.fetch_again
            and before[schema.MODEL] == self.entity[schema.MODEL]
            and before[schema.HASH] == self.content
            and (bool(self.content) or before[schema.PATH] == self.entity[schema.PATH])
        )


@dataclass
class Comparison:
    """A chunk of rows, sorted by what has to be done."""

    changed: list[Changed] = field(default_factory=list)
    rejected: list[tuple[Row, str]] = field(default_factory=list)
    unchanged: int = 0


class Comparer:
    """Compares rows with a collection by path, modification time, size and fields; with `checksum`, by content.

    `present` collects the ids of the rows that have a file.
    """

    def __init__(self, collection: Collection, model_id: str, source: str, checksum: bool = False) -> None:
        self._collection = collection
        self._own = {schema.MODEL: model_id, schema.SOURCE: source, schema.HASH: ""}
        self._checksum = checksum
        self._defaults = {stored.name: stored.default for stored in collection.fields()}
        self._compared = [*_FILE, schema.SOURCE, *self._defaults]
        self.present = array("q")

    def compare(self, rows: Sequence[Row]) -> Comparison:
        """One look-up for the whole chunk; the files of what seems to have changed are read."""
        stored = self._collection.get([row.id for row in rows], [schema.HASH, *self._compared])
        result = Comparison()
        to_hash = []
        for row in rows:
            mtime_ns, size = _stat(row.path)
            if mtime_ns or size or is_remote(row.path):
                self.present.append(row.id)
            reason = _unstorable(row)
            if reason:
                result.rejected.append((row, reason))
                continue
            item = Changed(row, self._entity(row, mtime_ns, size), stored.get(row.id))
            if self._is_unchanged(item):
                result.unchanged += 1
                continue
            if item.before is not None and not self._checksum and _same(item, _FILE):
                item.entity[schema.HASH] = item.before[schema.HASH]
            elif is_remote(row.path):
                item.fetch_again = self._checksum
            else:
                to_hash.append(item)
            result.changed.append(item)
        for item, content in zip(to_hash, hash_files([item.row.path for item in to_hash]), strict=True):
            item.entity[schema.HASH] = content
        if self._checksum:
            kept = [item for item in result.changed if not self._is_same_content(item)]
            result.unchanged += len(result.changed) - len(kept)
            result.changed = kept
        return result

    def _is_unchanged(self, item: Changed) -> bool:
        return not self._checksum and item.before is not None and _same(item, self._compared)

    def _is_same_content(self, item: Changed) -> bool:
        return item.before is not None and bool(item.content) and _same(item, [schema.HASH, *self._compared])

    def _entity(self, row: Row, mtime_ns: int, size: int) -> dict[str, Any]:
        own = {schema.ID: row.id, schema.PATH: row.path, **self._own, schema.MTIME_NS: mtime_ns, schema.SIZE: size}
        return {**own, **self._defaults, **row.fields}


def _same(item: Changed, names: Sequence[str]) -> bool:
    before = item.before or {}
    return all(before.get(name) == item.entity[name] for name in names)


def _stat(path: str) -> tuple[int, int]:
    """Modification time in ns and size in bytes; zeros where there is no file (decoding will say why)."""
    if is_remote(path):
        return 0, 0
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
