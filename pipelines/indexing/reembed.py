"""Re-embedding with another model: a new collection is filled beside the old one, then takes its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ..fields import ID, PATH
from ..milvus import schema
from ..milvus.collection import Collection
from ..milvus.columns import converter
from ..sources.column_types import NO_TYPES, ColumnType
from ..sources.source import Findings, Row
from .exchange import REEMBEDDED, sibling


def replacement_of(collection: Collection, model_id: str) -> Collection:
    """Return the new collection. Rows that an earlier run embedded with the same model are kept."""
    new = sibling(collection, REEMBEDDED[0])
    if new.exists() and new.model() not in ("", model_id):
        new.drop()
    return new


class CollectionSource:
    """A source of the rows of a collection that its replacement lacks, because other sources brought them.

    The fields of a row are the columns of the replacement, and the row's sources and text id.
    """

    is_folder = False
    fills: tuple[str, ...] = ()

    def __init__(
        self,
        collection: Collection,
        replacement: Collection,
        rejected: set[int],
        types: Mapping[str, ColumnType] = NO_TYPES,
    ) -> None:
        self._collection = collection
        self.fields = replacement.fields()
        self.findings = Findings()
        self._convert = converter(collection.fields(), self.fields, types)
        done = np.concatenate([_ids(replacement), np.array(sorted(rejected), np.int64)])
        self._ids = np.setdiff1d(_ids(collection), done)
        self.total = len(self._ids)

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """Yield the rows, `size` at a time."""
        kept = [name for name in (schema.SOURCE, schema.KEY) if name in schema.field_names(self._collection.describe())]
        columns = [field.key for field in self._collection.fields()]
        for start in range(0, self.total, size):
            stored = self._collection.get(self._ids[start : start + size].tolist(), [PATH, *kept, *columns])
            yield [
                Row(key, row[PATH], 0, {**{name: row[name] for name in kept}, **self._convert(row)})
                for key, row in stored.items()
            ]


def _ids(collection: Collection) -> np.ndarray:
    return np.fromiter((row[ID] for rows in collection.scan("", []) for row in rows), np.int64)
