"""Rebuilding: other columns, or the present schema, for a whole collection, without an embedding.

All rows are copied into a new collection, which then takes the name of the old one; until then the old one can be
searched. A run that was killed goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..fields import Field
from ..milvus import schema
from ..milvus.collection import Collection
from ..milvus.columns import convert_row, converter, merge, with_own_names
from ..milvus.lite import check_room_for_copy
from .exchange import REBUILT, exchange, sibling

# Called with the number of rows that were copied, and of all rows.
Copied = Callable[[int, int], None]


def columns_for(collection: Collection, source: Sequence[Field]) -> tuple[Field, ...]:
    """Return the columns that hold the rows of a collection and of a source, as a new collection would store them."""
    stored = collection.fields()
    if collection.version() == 1:
        stored = with_own_names(stored, source)
    return schema.as_stored(merge(stored, source), collection.has_null)


def rebuild(collection: Collection, columns: tuple[Field, ...], on_copied: Copied) -> int:
    """Give a collection these columns, of `columns_for`, and the present schema. Return the number of its rows.

    Raises:
        StoreFull: there is not as much free space as the collection takes.
    """
    check_room_for_copy(collection.uri, collection.name)
    new = sibling(collection, REBUILT[0])
    if new.exists() and (new.fields() != columns or new.dim() != collection.dim()):
        new.drop()
    if not new.exists():
        new.create(collection.dim(), columns, collection.index)
    total = collection.count()
    _copy(collection, new, lambda done: on_copied(done, total))
    if new.count() != total:  # the collection lost rows since a first try was killed
        new.drop()
        new.create(collection.dim(), columns, collection.index)
        _copy(collection, new, lambda done: on_copied(done, total))
    exchange(collection, new, REBUILT)
    return total


def _copy(collection: Collection, new: Collection, on_copied: Callable[[int], None]) -> None:
    convert = converter(collection.fields(), new.fields())
    names = [name for name in schema.field_names(new.describe()) if name not in (schema.ID, schema.EMBEDDING)]
    resumes, done = new.count() > 0, 0
    for rows in collection.scan("", schema.field_names(collection.describe())):
        converted = [convert_row(row, convert) for row in rows]
        there = new.get([row[schema.ID] for row in rows], names) if resumes else {}
        new.upsert(row for row in converted if not _is_same(row, there.get(row[schema.ID])))
        done += len(rows)
        on_copied(done)


def _is_same(row: dict[str, Any], stored: dict[str, Any] | None) -> bool:
    """Whether a first try copied the row. The same model and content mean the same embedding."""
    return stored is not None and all(row[name] == value for name, value in stored.items())
