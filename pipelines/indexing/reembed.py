"""Re-embedding: another model for a whole collection. A new collection is filled beside it and then takes its name.

Until then the old collection stays as it is and can be searched. A run that was killed goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..fields import ID, PATH
from ..milvus import schema
from ..milvus.collection import Collection
from ..sources.source import Findings, Row


def replacement_of(collection: Collection, model_id: str) -> Collection:
    """Return the new collection, with the rows that an earlier run embedded with the same model."""
    new = _sibling(collection, "__reembed")
    if new.exists() and new.model() not in ("", model_id):
        new.drop()
    return new


def swap(collection: Collection, replacement: Collection) -> None:
    """Put the replacement in the place of the collection. `finish_swap` completes a swap that was killed."""
    name = collection.name
    replacement.flush()
    collection.rename(_sibling(collection, "__replaced").name)
    replacement.rename(name)
    collection.drop()


def finish_swap(collection: Collection) -> None:
    """Complete a `swap` that was killed."""
    old, new = _sibling(collection, "__replaced"), _sibling(collection, "__reembed")
    if not old.exists():
        return
    if not collection.exists() and new.exists():
        new.rename(collection.name)
    if collection.exists():
        old.drop()
    else:
        old.rename(collection.name)


class CollectionSource:
    """The rows of a collection that its replacement lacks, which other sources brought, as a source."""

    def __init__(self, collection: Collection, replacement: Collection, rejected: set[int]) -> None:
        self._collection = collection
        self.fields = collection.fields()
        self.findings = Findings()
        done = np.concatenate([_ids(replacement), np.array(sorted(rejected), np.int64)])
        self._ids = np.setdiff1d(_ids(collection), done)
        self.total = len(self._ids)

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """Yield the rows, `size` at a time."""
        names = [schema.SOURCE, *(field.name for field in self.fields)]
        for start in range(0, self.total, size):
            stored = self._collection.get(self._ids[start : start + size].tolist(), [PATH, *names])
            yield [Row(key, row[PATH], 0, {name: row[name] for name in names}) for key, row in stored.items()]


def _sibling(collection: Collection, suffix: str) -> Collection:
    return Collection(collection.uri, collection.name + suffix, collection.token)


def _ids(collection: Collection) -> np.ndarray:
    return np.fromiter((row[ID] for rows in collection.scan("", []) for row in rows), np.int64)
