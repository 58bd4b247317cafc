"""Another model for a whole collection: a new collection is filled beside it, and takes its name when complete.

Until then the old one is untouched and can be searched; a run that is killed goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..milvus import schema
from ..milvus.collection import Collection
from ..sources.source import Findings, Row

_NEW, _OLD = "__reembed", "__replaced"


def replacement_of(collection: Collection, model_id: str) -> Collection:
    """The collection beside it for embeddings by this model, with what an earlier run put there by the same model."""
    new = Collection(collection.uri, collection.name + _NEW, collection.token)
    if new.exists() and new.model() not in ("", model_id):
        new.drop()
    return new


def swap(collection: Collection, replacement: Collection) -> None:
    """Puts the replacement in the collection's place. Killed between two steps, `finish_swap` sets it right."""
    name = collection.name
    replacement.flush()
    collection.rename(name + _OLD)
    replacement.rename(name)
    collection.drop()


def finish_swap(collection: Collection) -> None:
    """Ends a `swap` that was killed half-way."""
    old = Collection(collection.uri, collection.name + _OLD, collection.token)
    if not old.exists():
        return
    new = Collection(collection.uri, collection.name + _NEW, collection.token)
    if not collection.exists() and new.exists():
        new.rename(collection.name)
    if collection.exists():
        old.drop()
    else:
        old.rename(collection.name)


class CollectionSource:
    """The rows of a collection that its replacement does not have yet, as a source: those of other CSVs and folders."""

    def __init__(self, collection: Collection, replacement: Collection, rejected: set[int]) -> None:
        self._collection = collection
        self.fields = collection.fields()
        self.findings = Findings()
        done = np.concatenate([_ids(replacement), np.array(sorted(rejected), np.int64)])
        self._ids = np.setdiff1d(_ids(collection), done)
        self.total = len(self._ids)

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """The rows, `size` at a time."""
        names = [schema.PATH, schema.SOURCE, *(field.name for field in self.fields)]
        for start in range(0, len(self._ids), size):
            stored = self._collection.get(self._ids[start : start + size].tolist(), names)
            yield [
                Row(row_id, row[schema.PATH], 0, {name: row[name] for name in names if name != schema.PATH})
                for row_id, row in stored.items()
            ]


def _ids(collection: Collection) -> np.ndarray:
    return np.array([row[schema.ID] for rows in collection.scan("", []) for row in rows], np.int64)
