"""The page's filters: a collection's columns as fields of a form, the form as a filter, and a filter as the form."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from pipelines.errors import InputError
from pipelines.fields import PATH, Field, FieldType
from pipelines.query import And, Compare, Contains, Filter, OneOf, StartsWith, Under, parse_filter

FEW_VALUES = 12
MANY_VALUES = 500
_LONGEST_VALUE = 60

Kind = Literal["choices", "many", "bool", "number", "text", "folder"]


class Chosen(TypedDict, total=False):
    """What a field is set to. All texts, as they come from a form."""

    values: list[str]
    low: str
    high: str
    words: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column as a field of the form.

    kind: `choices` and `many` for few and for many distinct values, `number` for a range, `text` for a part of it.
    values: the distinct values, sorted; of a folder the folders.
    low, high: the smallest and largest number.
    anywhere: whether text is found anywhere in the cell (Milvus Lite), or only at its start (a server).
    """

    name: str
    kind: Kind
    type: FieldType = FieldType.TEXT
    values: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    anywhere: bool = True


@dataclass(frozen=True, slots=True)
class Form:
    """A filter taken apart: what each column's field is set to, and the rest, which no field can say."""

    chosen: Mapping[str, Chosen] = field(default_factory=dict)
    conditions: str = ""

    @property
    def active(self) -> int:
        """How many fields are set."""
        return len(self.chosen) + bool(self.conditions)


def describe_columns(fields: Sequence[Field], rows: Sequence[Mapping[str, Any]], lite: bool) -> tuple[Column, ...]:
    """The fields for a collection's columns.

    Args:
        rows: some of the collection's rows, from which values and ranges are taken.
        lite: whether the collection is in Milvus Lite.
    """
    columns = [_describe(column, [row.get(column.name) for row in rows], lite) for column in fields]
    folders = _folders(str(row[PATH]) for row in rows)
    if len(folders) > 1:
        columns.append(Column(PATH, "folder", values=folders))
    return tuple(columns)


def read_form(columns: Sequence[Column], form: Mapping[str, Any], conditions: str) -> str:
    """The filter that a filled-in form means, as text; '' for an empty one.

    Raises:
        InputError: a number is none, or the conditions are no filter.
    """
    operands: list[Filter] = []
    for column in columns:
        chosen = form.get(column.name)
        if isinstance(chosen, Mapping):
            operands += _operands(column, chosen)
    if conditions.strip():
        operands += _split(parse_filter(conditions))
    if len(operands) > 1:
        return str(And(tuple(operands)))
    return str(operands[0]) if operands else ""


def fill_form(columns: Sequence[Column], text: str) -> Form:
    """The form that means a filter. What does not fit a field, or is no filter at all, becomes `conditions`."""
    if not text:
        return Form()
    try:
        operands = _split(parse_filter(text))
    except InputError:
        return Form(conditions=text)
    by_name = {column.name: column for column in columns}
    chosen: dict[str, Chosen] = {}
    rest: list[Filter] = []
    for operand in operands:
        name = PATH if isinstance(operand, Under) else str(getattr(operand, "column", ""))
        column, taken = by_name.get(name), chosen.get(name)
        merged = _merge(column, taken or {}, operand) if column else None
        if merged is None:
            rest.append(operand)
        else:
            chosen[name] = merged
    return Form(chosen, str(And(tuple(rest))) if len(rest) > 1 else "".join(map(str, rest)))


def _describe(column: Field, cells: Sequence[Any], lite: bool) -> Column:
    given = [cell for cell in cells if cell not in (None, "")]
    if column.type is FieldType.BOOL:
        return Column(column.name, "bool", column.type)
    distinct = sorted(set(given))
    if column.type in (FieldType.INT, FieldType.FLOAT):
        low, high = (distinct[0], distinct[-1]) if distinct else (None, None)
        return Column(column.name, "number", column.type, low=low, high=high)
    longest = max(map(len, distinct), default=0)
    repeats = len(distinct) <= max(FEW_VALUES, len(given) // 2)
    if not distinct or longest > _LONGEST_VALUE or len(distinct) > MANY_VALUES or not repeats:
        return Column(column.name, "text", anywhere=lite)
    return Column(column.name, "choices" if len(distinct) <= FEW_VALUES else "many", values=tuple(distinct))


def _folders(paths: Iterable[str]) -> tuple[str, ...]:
    folders = set(map(os.path.dirname, paths)) - {""}
    return tuple(sorted(folders)[:MANY_VALUES])


def _split(operand: Filter) -> list[Filter]:
    return list(operand.operands) if isinstance(operand, And) else [operand]


def _operands(column: Column, chosen: Mapping[str, Any]) -> list[Filter]:
    name = column.name
    if column.kind in ("choices", "many", "bool"):
        values = tuple(_texts(chosen.get("values")))
        if column.kind == "bool":
            return [Compare(name, "==", values[0] == "true")] if len(values) == 1 else []
        return [Compare(name, "==", values[0]) if len(values) == 1 else OneOf(name, values)] if values else []
    if column.kind == "number":
        bounds = ((">=", chosen.get("low")), ("<=", chosen.get("high")))
        return [Compare(name, sign, _number(column, str(value))) for sign, value in bounds if value]
    words = str(chosen.get("words") or "").strip()
    if not words:
        return []
    if column.kind == "folder":
        return [Under(words)]
    return [Contains(name, words) if column.anywhere else StartsWith(name, words)]


def _merge(column: Column, taken: Chosen, operand: Filter) -> Chosen | None:
    """The field's setting with one more operand in it, None where it has no room for that."""
    values: list[str] | None = None
    if isinstance(operand, Compare) and column.kind == "number" and operand.operator in (">=", "<="):
        spelt = _spell(operand.value)
        bound: Chosen = {"low": spelt} if operand.operator == ">=" else {"high": spelt}
        return None if bound.keys() & taken.keys() else {**taken, **bound}
    if taken:
        return None
    if isinstance(operand, Compare) and operand.operator == "==":
        values = [_spell(operand.value)]
    elif isinstance(operand, OneOf):
        values = [_spell(value) for value in operand.values]
    if values is not None:
        return {"values": values} if column.kind in ("choices", "many", "bool") else None
    if isinstance(operand, Under):
        return {"words": operand.folder}
    wanted = Contains if column.anywhere else StartsWith
    if column.kind == "text" and isinstance(operand, wanted):
        return {"words": operand.text}
    return None


def _texts(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _spell(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(column: Column, text: str) -> int | float:
    text = text.strip().replace(",", ".")
    try:
        number = float(text)
    except ValueError:
        raise InputError(f"'{text}' is no number for the column '{column.name}'") from None
    return int(text) if column.type is FieldType.INT and text.lstrip("+-").isdigit() else number
