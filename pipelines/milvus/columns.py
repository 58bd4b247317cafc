"""How a collection's columns change: merge them with the columns of a source, and convert the stored rows."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..fields import Field, FieldType, show_value
from ..sources.column_types import NO_TYPES, ColumnType
from . import schema

Convert = Callable[[Mapping[str, Any]], dict[str, Any]]


def merge(
    stored: Sequence[Field], source: Sequence[Field], types: Mapping[str, ColumnType] = NO_TYPES
) -> tuple[Field, ...]:
    """Return the columns that can hold both the rows of a collection and those of a source, the collection's first.

    A column of both gets the requested type, else a type that can hold the values of both: whole numbers become
    numbers, any other two types become text. A column that a table provides is no longer read from the files.
    """
    new = {field.name: field for field in source}
    merged = []
    for field in stored:
        other = new.pop(field.name, field)
        if field.from_file is not other.from_file:
            merged.append(dataclasses.replace(other if field.from_file else field, key=""))
            continue
        type = other.type if field.name in types else _wider(field, other)
        merged.append(dataclasses.replace(field, type=type, key=""))
    return (*merged, *new.values())


def adopt(source: Sequence[Field], stored: Sequence[Field]) -> tuple[Field, ...]:
    """Return the columns of a source with the types and keys under which a collection stores them."""
    by_name = {field.name: field for field in stored}
    return tuple(dataclasses.replace(by_name[field.name], has_gaps=field.has_gaps) for field in source)


def with_own_names(stored: Sequence[Field], source: Sequence[Field]) -> tuple[Field, ...]:
    """Give the columns of version 1, which stored `Größe (cm)` as `Gr_e_cm`, the names that a source has for them."""
    names = {_name_in_version_1(field.name): field.name for field in source}
    return tuple(dataclasses.replace(field, name=names.get(field.name, field.name), key="") for field in stored)


def converter(stored: Sequence[Field], columns: Sequence[Field], types: Mapping[str, ColumnType] = NO_TYPES) -> Convert:
    """Return a function that converts the cells of a stored row to other columns.

    Args:
        stored: the columns of the row.
        columns: the columns to convert to: the same ones in this order, then new ones. New columns become empty, as do
            columns that were read from the files and that a table now provides.
        types: the requested types, by column. A cell that does not fit becomes empty (see `narrowed`).
    """
    kept = _kept(stored, columns)
    same = [(old.key, new.key) for old, new in kept if old.type is new.type]
    changed = [(old, new) for old, new in kept if old.type is not new.type]
    empty = {field.key: field.default for field in set(columns) - {new for _, new in kept}}

    def convert(row: Mapping[str, Any]) -> dict[str, Any]:
        cells = {new: row[old] for old, new in same}
        return {**cells, **{new.key: _convert(row[old.key], old, new, types) for old, new in changed}, **empty}

    return convert


def narrowed(
    stored: Sequence[Field], columns: Sequence[Field], types: Mapping[str, ColumnType]
) -> dict[Field, ColumnType]:
    """Return the stored columns that may have cells that do not fit the requested types."""
    return {
        old: types[new.name]
        for old, new in _kept(stored, columns)
        if new.name in types and new.type not in (old.type, FieldType.TEXT)
    }


def _kept(stored: Sequence[Field], columns: Sequence[Field]) -> list[tuple[Field, Field]]:
    """Return the stored columns whose cells are kept, each with its new column."""
    return [pair for pair in zip(stored, columns, strict=False) if pair[0].from_file is pair[1].from_file]


def convert_row(row: Mapping[str, Any], convert: Convert) -> dict[str, Any]:
    """Return a stored row of any version as a row of the current version."""
    own = {name: value for name, value in row.items() if name in schema.SYSTEM}
    return {**schema.ADDED, **own, **convert(row)}


def _wider(stored: Field, source: Field) -> FieldType:
    types = {stored.type, source.type}
    if len(types) == 1:
        return stored.type
    return FieldType.FLOAT if types == {FieldType.INT, FieldType.FLOAT} else FieldType.TEXT


def as_text(value: Any, field: Field) -> str:
    """Return a stored cell as a table would write it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(show_value(field, value))


def _convert(value: Any, old: Field, new: Field, types: Mapping[str, ColumnType]) -> Any:
    if value is None:
        return new.default
    if new.type is FieldType.TEXT:
        return as_text(value, old)
    if new.name not in types:
        return float(value)
    with suppress(ValueError):
        return types[new.name].read(as_text(value, old))
    return None


def _name_in_version_1(column: str) -> str:
    name = re.sub(r"\W+", "_", column.strip(), flags=re.ASCII).strip("_")
    return f"c_{name}" if name[:1].isdigit() else name
