"""Rebuilding: gives a whole collection other columns, or the current schema, without embedding anything again.

All rows are copied into a new collection, which then takes the name of the old one. Until then the old one can be
searched. A killed run continues where it stopped.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

from ..errors import InputError
from ..fields import Field, FieldType
from ..milvus import schema
from ..milvus.collection import Collection
from ..milvus.columns import as_text, convert_row, converter, merge, narrowed, with_own_names
from ..milvus.lite import check_room_for_copy
from ..models.model_id import is_same_model
from ..sources.column_types import ColumnType
from ..sources.source import Source
from .exchange import REBUILT, exchange, sibling

# Called with the number of copied rows and the number of all rows.
Copied = Callable[[int, int], None]


def columns_for(collection: Collection, source: Source, name: str, more: Sequence[Field] = ()) -> tuple[Field, ...]:
    """Return columns that can hold the rows of a collection and of a source, as a new collection would store them.

    Args:
        more: further columns.
        name: the name of the source. Its stored rows need not fit the requested types, because they will be replaced.

    Raises:
        InputError: a stored cell does not fit the requested type, or dates do not tell whether the day comes first.
    """
    stored, found = collection.fields(), source.findings
    if collection.version() == 1:
        stored = with_own_names(stored, source.fields)
    _check_dates(stored, source)
    columns = schema.as_stored(merge(stored, [*source.fields, *more], found.types), collection.has_null)
    if checked := narrowed(collection.fields(), columns, found.types):
        _refuse_misfits(collection, checked, name)
    return columns


def _check_dates(stored: Sequence[Field], source: Source) -> None:
    """Refuse ambiguous dates, which would turn stored dates into text. Note stored text that could be dates."""
    types = {field.name: field.type for field in stored if not field.from_file}
    for field in source.fields:
        if types.get(field.name) is FieldType.DATE and field.name in source.findings.undecided:
            option = shlex.quote(f"{field.name}=date:dmy")
            raise InputError(
                f"column '{field.name}' holds dates in the collection, and here dates that may have the day or the "
                f"month first; say which by --types {option} or date:mdy"
            )
        if types.get(field.name) is FieldType.TEXT and field.type is FieldType.DATE:
            option = shlex.quote(f"{field.name}=date")
            source.findings.notes.append(f"column '{field.name}' is stored as text; --types {option} makes dates of it")


def _refuse_misfits(collection: Collection, checked: Mapping[Field, ColumnType], name: str) -> None:
    for rows in collection.scan("", [schema.PATH, schema.SOURCE, *(field.key for field in checked)]):
        others = [row for row in rows if name not in (schema.split_sources(row[schema.SOURCE]) or ("",))]
        for row, (field, type) in product(others, checked.items()):
            cell = as_text(row[field.key], field)
            if not type.fits(cell):
                raise InputError(
                    f"collection '{collection.name}', image {row[schema.ID]} ({row[schema.PATH]}), column "
                    f"'{field.name}': '{cell[:60]}' is no {type}, which --types asks for"
                )


def rebuild(
    collection: Collection,
    columns: tuple[Field, ...],
    types: Mapping[str, ColumnType],
    on_copied: Copied,
    model_id: str,
) -> int:
    """Give a collection these columns, from `columns_for`, and the current schema. Return the number of its rows.

    Args:
        model_id: written into the rows of the same model.

    Raises:
        StoreFull: there is less free space than the collection takes.
    """
    check_room_for_copy(collection.uri, collection.name)
    new = sibling(collection, REBUILT[0])
    if new.exists() and (new.fields() != columns or new.dim() != collection.dim()):
        new.drop()
    if not new.exists():
        new.create(collection.dim(), columns, collection.index)
    total = collection.count()
    _copy(collection, new, types, lambda done: on_copied(done, total), model_id)
    if new.count() != total:  # the collection lost rows since an earlier run was killed
        new.drop()
        new.create(collection.dim(), columns, collection.index)
        _copy(collection, new, types, lambda done: on_copied(done, total), model_id)
    exchange(collection, new, REBUILT)
    return total


def _copy(
    collection: Collection,
    new: Collection,
    types: Mapping[str, ColumnType],
    on_copied: Callable[[int], None],
    model_id: str,
) -> None:
    convert = converter(collection.fields(), new.fields(), types)
    names = [name for name in schema.field_names(new.describe()) if name not in (schema.ID, schema.EMBEDDING)]
    resumes, done = new.count() > 0, 0
    for rows in collection.scan("", schema.field_names(collection.describe())):
        converted = [convert_row(row, convert) for row in rows]
        for row in converted:
            if is_same_model(row[schema.MODEL], model_id):
                row[schema.MODEL] = model_id
        there = new.get([row[schema.ID] for row in rows], names) if resumes else {}
        new.upsert(row for row in converted if not _is_same(row, there.get(row[schema.ID])))
        done += len(rows)
        on_copied(done)


def _is_same(row: dict[str, Any], stored: dict[str, Any] | None) -> bool:
    """Whether an earlier run copied the row. The same model and content mean the same embedding."""
    return stored is not None and all(row[name] == value for name, value in stored.items())
