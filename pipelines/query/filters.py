"""Filters on a collection's columns: plain values, built in Python or read from text by `parse_filter`.

An empty cell equals nothing: `year == 2020` and `year < 2020` are false for it, `year != 2020` and `not (year < 2020)`
are true. An empty cell of a text column is the text ''.

A date is a text: `2020-05-01`, `2020-05-01T10:30`, or `2020-05` for the start of that month.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..fields import PATH

Value = str | int | float | bool

OPERATORS = ("==", "!=", "<", "<=", ">", ">=")
WORDS = frozenset(("and", "or", "not", "in", "is", "empty", "under", "startswith", "contains", "true", "false"))


@dataclass(frozen=True, slots=True)
class Filter:
    """Base of all filters; combined with `&`, `|` and `~`. `str()` returns text that `parse_filter` reads back."""

    def __and__(self, other: Filter) -> Filter:
        return And((*_operands(And, self), *_operands(And, other)))

    def __or__(self, other: Filter) -> Filter:
        return Or((*_operands(Or, self), *_operands(Or, other)))

    def __invert__(self) -> Filter:
        return Not(self)


@dataclass(frozen=True, slots=True)
class Compare(Filter):
    """`column operator value`, with one of OPERATORS."""

    column: str
    operator: str
    value: Value

    def __str__(self) -> str:
        return f"{format_column(self.column)} {self.operator} {format_value(self.value)}"


@dataclass(frozen=True, slots=True)
class OneOf(Filter):
    """`column in [values]`."""

    column: str
    values: tuple[Value, ...]

    def __str__(self) -> str:
        return f"{format_column(self.column)} in [{', '.join(map(format_value, self.values))}]"


@dataclass(frozen=True, slots=True)
class StartsWith(Filter):
    """`column startswith text`."""

    column: str
    text: str

    def __str__(self) -> str:
        return f"{format_column(self.column)} startswith {format_value(self.text)}"


@dataclass(frozen=True, slots=True)
class Under(Filter):
    """`path under folder`: images in this folder, at any depth. A relative folder starts at the working directory."""

    folder: str

    def __str__(self) -> str:
        return f"{PATH} under {format_value(self.folder)}"


@dataclass(frozen=True, slots=True)
class Contains(Filter):
    """`column contains text`. No character of the text is a wildcard."""

    column: str
    text: str

    def __str__(self) -> str:
        return f"{format_column(self.column)} contains {format_value(self.text)}"


@dataclass(frozen=True, slots=True)
class IsEmpty(Filter):
    """`column is empty`: the cell was empty in the CSV."""

    column: str

    def __str__(self) -> str:
        return f"{format_column(self.column)} is empty"


@dataclass(frozen=True, slots=True)
class Not(Filter):
    """Rows that do not match the operand."""

    operand: Filter

    def __str__(self) -> str:
        if isinstance(self.operand, OneOf):
            return f"{format_column(self.operand.column)} not in [{', '.join(map(format_value, self.operand.values))}]"
        if isinstance(self.operand, IsEmpty):
            return f"{format_column(self.operand.column)} is not empty"
        return f"not ({self.operand})"


@dataclass(frozen=True, slots=True)
class _Combination(Filter):
    operands: tuple[Filter, ...]
    word: ClassVar[str] = ""

    def __str__(self) -> str:
        return f" {self.word} ".join(
            f"({operand})" if isinstance(operand, _Combination) else str(operand) for operand in self.operands
        )


@dataclass(frozen=True, slots=True)
class And(_Combination):
    """Rows that match every operand."""

    word: ClassVar[str] = "and"


@dataclass(frozen=True, slots=True)
class Or(_Combination):
    """Rows that match any operand."""

    word: ClassVar[str] = "or"


def format_column(name: str) -> str:
    """Write a column's name as `parse_filter` reads it: in backticks unless it is an identifier and not a keyword."""
    return name if name.isidentifier() and name.lower() not in WORDS else f"`{name.replace('`', '``')}`"


def format_value(value: Value) -> str:
    """Write a value as `parse_filter` reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return repr(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def _operands(kind: type[_Combination], operand: Filter) -> tuple[Filter, ...]:
    return operand.operands if isinstance(operand, kind) else (operand,)
