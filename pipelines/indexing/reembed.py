"""Another model for a whole collection: a new collection is filled beside it, and takes its name when complete.

Until then the old one is untouched and can be searched; a run that is killed goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..milvus import schema
from ..milvus.store import Store
from ..sources.source import Row

_NEW, _OLD = "__reembed", "__replaced"


def replacement_of(store: Store, model_tag: str) -> Store:
    """The collection beside it for embeddings by this model, with what an earlier run put there by the same model."""
    new = Store(store.uri, store.collection + _NEW, store.token)
    if new.exists() and new.model() not in ("", model_tag):
        new.drop()
    return new


def swap(store: Store, replacement: Store) -> None:
    """Puts the replacement in the collection's place. Killed between two steps, `finish_swap` sets it right."""
    name = store.collection
    replacement.flush()
    store.rename(name + _OLD)
    replacement.rename(name)
    store.drop()


def finish_swap(store: Store) -> None:
    """Ends a `swap` that was killed half-way."""
    old = Store(store.uri, store.collection + _OLD, store.token)
    if not old.exists():
        return
    new = Store(store.uri, store.collection + _NEW, store.token)
    if not store.exists() and new.exists():
        new.rename(store.collection)
    if store.exists():
        old.drop()
    else:
        old.rename(store.collection)


class StoredRows:
    """The rows of a collection that its replacement does not have yet, as a source: those of other CSVs and folders."""

    def __init__(self, store: Store, replacement: Store, rejected: set[int]) -> None:
        self._store = store
        self.fields = store.fields()
        done = np.concatenate([_ids(replacement), np.array(sorted(rejected), np.int64)])
        self._ids = np.setdiff1d(_ids(store), done)
        self.total = len(self._ids)

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """The rows, `size` at a time."""
        names = [schema.PATH, schema.SOURCE, *(field.name for field in self.fields)]
        for start in range(0, len(self._ids), size):
            stored = self._store.get(self._ids[start : start + size].tolist(), names)
            yield [
                Row(row_id, row[schema.PATH], 0, {name: row[name] for name in names if name != schema.PATH})
                for row_id, row in stored.items()
            ]


def _ids(store: Store) -> np.ndarray:
    return np.array([row[schema.ID] for rows in store.scan("", []) for row in rows], np.int64)
