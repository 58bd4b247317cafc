"""The columns that a filter may name, and values and ranges of them in Milvus's language, every literal quoted here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..errors import InputError
from ..fields import ID, PATH, Field, FieldType
from ..milvus.schema import text_literal

Value = str | int | float | bool

_KINDS = {
    FieldType.TEXT: "text", FieldType.INT: "whole numbers", FieldType.FLOAT: "numbers", FieldType.BOOL: "true or false",
}  # fmt: skip


class Columns:
    """The columns that a filter may name: the CSV's own, `id` and `path`."""

    def __init__(self, fields: Sequence[Field], lite: bool = True) -> None:
        known = (*fields, Field(PATH, FieldType.TEXT), Field(ID, FieldType.INT))
        self._by_name = {field.name: field for field in known}
        self.lite = lite

    def find(self, name: str) -> Field:
        """The column of this name.

        Raises:
            InputError: there is none; the message names those there are.
        """
        if name not in self._by_name:
            raise InputError(f"there is no column '{name}'; the columns are: {', '.join(self._by_name)}")
        return self._by_name[name]

    def text(self, name: str) -> Field:
        """The column of this name, which must hold text."""
        field = self.find(name)
        if field.type is not FieldType.TEXT:
            raise InputError(f"column '{name}' holds {_KINDS[field.type]}, not text")
        return field


def literal(field: Field, value: Any) -> str:
    """The value as a Milvus literal of the column's type.

    Raises:
        InputError: it is of another type.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if field.type is FieldType.TEXT and isinstance(value, str):
        return quoted(value)
    if field.type is FieldType.BOOL and isinstance(value, bool):
        return "true" if value else "false"
    if field.type is FieldType.FLOAT and number and _is_finite(value):
        return repr(float(value))
    if field.type is FieldType.INT and number and _is_finite(value) and value == int(value):
        if not -(2**63) < value < 2**63:
            raise InputError(f"{value:g} has more than 64 bits")
        return str(int(value))
    raise InputError(f"column '{field.name}' holds {_KINDS[field.type]}, not {spell(value)}")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def quoted(text: str) -> str:
    return text_literal(printable(text))


def printable(text: str) -> str:
    """What is not UTF-8 can be in no collection, and Milvus's client fails at it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError("a text of the filter is not valid UTF-8") from None
    return text


def in_range(name: str, start: str, end: str, negated: bool) -> str:
    if negated:
        return f"({name} < {quoted(start)} or {name} >= {quoted(end)})"
    return f"({name} >= {quoted(start)} and {name} < {quoted(end)})"


def or_empty(field: Field, expression: str) -> str:
    return f"({expression} or {field.name} is null)" if field.has_gaps else expression


def spell(value: Value) -> str:
    """A value as `parse_filter` reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return text_literal(value) if isinstance(value, str) else repr(value)
