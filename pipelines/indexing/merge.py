"""Merge a row with the stored one. A source changes only its own columns; all others keep their values."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..fields import ID, PATH, Field
from ..milvus import schema
from .gone import GoneFiles
from .identity import Match


class Merger:
    """Makes the entities of one source's rows from the rows and from what is stored.

    Args:
        fields: the columns of the collection.
        source: name of the source.
        fills: columns that the source fills only where they are empty.
    """

    def __init__(
        self, fields: Sequence[Field], source: str, model_id: str, precision: str, gone: GoneFiles,
        fills: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.columns = {field.key: field.default for field in fields}
        self._own = {**schema.ADDED, schema.MODEL: model_id, schema.PRECISION: precision, schema.HASH: ""}
        self._source, self._gone, self._fills = source, gone, fills
        self._sources_there: dict[str, bool] = {}

    def merge(self, match: Match) -> dict[str, Any]:
        """Return all fields except the embedding and what is read from the file."""
        row, stored = match.row, match.stored
        own = {ID: row.id, PATH: row.path, **self._own}
        if stored is None:
            return {**own, schema.SOURCE: self._source, **self.columns, **row.fields}
        kept = {key: stored[key] for key in self.columns}
        if match.absorbed is not None:
            kept |= {key: match.absorbed[key] for key in kept if match.absorbed[key] not in ("", None)}
        entity = {**own, schema.KEY: stored[schema.KEY], **kept, **row.fields}
        entity[schema.SOURCE] = self._merge_sources(match, stored, row.fields.get(schema.SOURCE, self._source))
        for key in self._fills:
            if key in row.fields and kept[key] and not self._follows_path(key, match, stored):
                entity[key] = kept[key]
        return entity

    def _follows_path(self, key: str, match: Match, stored: Mapping[str, Any]) -> bool:
        """Whether the stored value is the name of the folder that the file has left."""
        before = stored[PATH]
        return bool(before != match.row.path and stored[key] == os.path.basename(os.path.dirname(before)))

    def _merge_sources(self, match: Match, stored: Mapping[str, Any], source: str) -> str:
        """The sources of the stored row that still list it, and those of the row."""
        text = str(stored[schema.SOURCE])
        if (text == source or not source) and match.absorbed is None:
            return text
        own = schema.split_sources(source)
        names = schema.split_sources(text)
        if match.absorbed is not None:
            names += schema.split_sources(match.absorbed[schema.SOURCE])
        left = [name for name in names if name in own or self._still_lists(name, match, stored)]
        return schema.join_sources([*left, *own])

    def _still_lists(self, name: str, match: Match, stored: Mapping[str, Any]) -> bool:
        """Whether another source exists, and is not a folder that the file has left."""
        folder = os.path.join(name, "")
        if stored[PATH].startswith(folder) and not match.row.path.startswith(folder) and match.moved:
            return False
        if name not in self._sources_there:
            self._sources_there[name] = self._gone.has_source(name, stored)
        return self._sources_there[name]
