"""The columns of a collection as they change: what two sources have in common, and how stored rows follow."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..fields import Field, FieldType, show_value
from . import schema

Convert = Callable[[Mapping[str, Any]], dict[str, Any]]


def merge(stored: Sequence[Field], source: Sequence[Field]) -> tuple[Field, ...]:
    """Return the columns that hold both the rows of a collection and those of a source, the collection's first.

    A column of both gets the type that can hold the values of both: whole numbers become numbers, any other two types
    become text.
    """
    new = {field.name: field for field in source}
    widened = [dataclasses.replace(field, type=_wider(field, new.pop(field.name, field)), key="") for field in stored]
    return (*widened, *new.values())


def adopt(source: Sequence[Field], stored: Sequence[Field]) -> tuple[Field, ...]:
    """Return the columns of a source with the types and keys under which a collection stores them."""
    by_name = {field.name: field for field in stored}
    return tuple(dataclasses.replace(by_name[field.name], has_gaps=field.has_gaps) for field in source)


def with_own_names(stored: Sequence[Field], source: Sequence[Field]) -> tuple[Field, ...]:
    """Give the columns of version 1, which kept `Größe (cm)` as `Gr_e_cm`, the names that a source has for them."""
    names = {_name_in_version_1(field.name): field.name for field in source}
    return tuple(dataclasses.replace(field, name=names.get(field.name, field.name), key="") for field in stored)


def converter(stored: Sequence[Field], columns: Sequence[Field]) -> Convert:
    """Return a function that makes the cells of a stored row those of other columns.

    Args:
        stored: the columns that the row has.
        columns: those that it shall have: the same ones in this order, then new ones, which become empty.
    """
    same = [(old.key, new.key) for old, new in zip(stored, columns, strict=False) if old.type is new.type]
    changed = [(old, new) for old, new in zip(stored, columns, strict=False) if old.type is not new.type]
    empty = {field.key: field.default for field in columns[len(stored) :]}

    def convert(row: Mapping[str, Any]) -> dict[str, Any]:
        cells = {new: row[old] for old, new in same}
        return {**cells, **{new.key: _convert(row[old.key], old, new) for old, new in changed}, **empty}

    return convert


def convert_row(row: Mapping[str, Any], convert: Convert) -> dict[str, Any]:
    """Return a stored row of any version as a row of the present one."""
    own = {name: value for name, value in row.items() if name in schema.SYSTEM}
    return {**schema.ADDED, **own, **convert(row)}


def _wider(stored: Field, source: Field) -> FieldType:
    types = {stored.type, source.type}
    if len(types) == 1:
        return stored.type
    return FieldType.FLOAT if types == {FieldType.INT, FieldType.FLOAT} else FieldType.TEXT


def _convert(value: Any, old: Field, new: Field) -> Any:
    if value is None:
        return new.default
    if new.type is FieldType.FLOAT:
        return float(value)
    return str(value).lower() if old.type is FieldType.BOOL else str(show_value(old, value))


def _name_in_version_1(column: str) -> str:
    name = re.sub(r"\W+", "_", column.strip(), flags=re.ASCII).strip("_")
    return f"c_{name}" if name[:1].isdigit() else name
