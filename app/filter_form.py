"""The filter form: which field each column gets, the filter that a filled-in form means, and the form of a filter."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypedDict

from pipelines.dates import read_moment
from pipelines.errors import InputError
from pipelines.fields import PATH, Field, FieldType, format_date
from pipelines.query import And, Compare, Contains, Filter, OneOf, StartsWith, Under, parse_filter

FEW_VALUES = 12
MANY_VALUES = 500
_LONGEST_VALUE = 60  # characters
_DAY = 86_400_000  # milliseconds

Kind = Literal["choices", "many", "bool", "number", "date", "text", "folder"]


class Chosen(TypedDict, total=False):
    """What one field of the form is set to, as the texts that the form sends."""

    values: list[str]
    low: str
    high: str
    words: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column as a field of the form.

    kind: `choices` for few and `many` for many distinct values, `number` and `date` for a range, `text` for a part of
        the text.
    choices: the distinct values, sorted, with their labels; for the folder field the folders.
    low, high: the smallest and the largest number, or the first and the last day.
    anywhere: whether a text is searched anywhere in the cell (Milvus Lite) or only at its start (a server).
    """

    name: str
    kind: Kind
    label: str = ""
    is_integer: bool = False
    choices: tuple[tuple[str, str], ...] = ()
    low: float | str | None = None
    high: float | str | None = None
    anywhere: bool = True


class Form(NamedTuple):
    """A filter taken apart: the setting of each field, and conditions that no field can express."""

    chosen: dict[str, Chosen]
    conditions: str


def describe_columns(fields: Sequence[Field], rows: Sequence[Mapping[str, Any]], lite: bool) -> tuple[Column, ...]:
    """Choose a form field for each column.

    Args:
        rows: a sample of the collection, from which values and ranges are taken.
        lite: whether the collection is in Milvus Lite.
    """
    columns = [_describe(column, [row.get(column.name) for row in rows], lite) for column in fields]
    folders = sorted({os.path.dirname(str(row[PATH])) for row in rows} - {""})[:MANY_VALUES]
    if len(folders) > 1:
        columns.append(Column(PATH, "folder", choices=tuple((folder, folder) for folder in folders)))
    return tuple(columns)


def read_form(columns: Sequence[Column], form: Mapping[str, Any], conditions: str) -> Filter | None:
    """Return the filter that a filled-in form means; None for an empty form.

    Raises:
        InputError: a bound is not a number or a day, or the conditions are not a filter.
    """
    operands: list[Filter] = []
    for column in columns:
        chosen = form.get(column.name)
        if isinstance(chosen, Mapping):
            operands += _operands(column, chosen)
    if conditions.strip():
        operands += _split(parse_filter(conditions))
    return _all_of(operands)


def fill_form(columns: Sequence[Column], condition: Filter | None, text: str = "") -> Form:
    """Return the form of a filter. Operands that fit no field become `conditions`.

    Args:
        text: the filter as text, which becomes `conditions` if it could not be parsed.
    """
    if condition is None:
        return Form({}, text)
    by_name = {column.name: column for column in columns}
    chosen: dict[str, Chosen] = {}
    rest: list[Filter] = []
    for operand in _split(condition):
        name = PATH if isinstance(operand, Under) else str(getattr(operand, "column", ""))
        column = by_name.get(name)
        merged = _merge(column, chosen.get(name) or {}, operand) if column else None
        if merged is None:
            rest.append(operand)
        else:
            chosen[name] = merged
    return Form(chosen, str(_all_of(rest) or ""))


def readable(name: str) -> str:
    """Return a column or a class as words: data sets write `brain_coral`."""
    return name.replace("_", " ").strip()


def _describe(column: Field, cells: Sequence[Any], lite: bool) -> Column:
    name, label = column.name, readable(column.name)
    if column.type is FieldType.BOOL:
        return Column(name, "bool", label)
    given = [cell for cell in cells if cell not in (None, "")]
    distinct = sorted(set(given))
    if column.type in (FieldType.INT, FieldType.FLOAT):
        low, high = (distinct[0], distinct[-1]) if distinct else (None, None)
        return Column(name, "number", label, column.type is FieldType.INT, low=low, high=high)
    if column.type is FieldType.DATE:
        first, last = (_day(distinct[0]), _day(distinct[-1])) if distinct else (None, None)
        return Column(name, "date", label, low=first, high=last)
    longest = max(map(len, distinct), default=0)
    repeats = len(distinct) <= max(FEW_VALUES, len(given) // 2)
    if not distinct or longest > _LONGEST_VALUE or len(distinct) > MANY_VALUES or not repeats:
        return Column(name, "text", label, anywhere=lite)
    choices = tuple((value, readable(value) if name == "label" else value) for value in distinct)
    return Column(name, "choices" if len(distinct) <= FEW_VALUES else "many", label, choices=choices)


def _split(operand: Filter) -> list[Filter]:
    return list(operand.operands) if isinstance(operand, And) else [operand]


def _all_of(operands: Sequence[Filter]) -> Filter | None:
    return And(tuple(operands)) if len(operands) > 1 else next(iter(operands), None)


def _operands(column: Column, chosen: Mapping[str, Any]) -> list[Filter]:
    name = column.name
    if column.kind in ("choices", "many", "bool"):
        values = tuple(_texts(chosen.get("values")))
        if column.kind == "bool":
            return [Compare(name, "==", values[0] == "true")] if len(values) == 1 else []
        return [Compare(name, "==", values[0]) if len(values) == 1 else OneOf(name, values)] if values else []
    if column.kind == "number":
        bounds = ((">=", chosen.get("low")), ("<=", chosen.get("high")))
        return [Compare(name, operator, _number(column, str(value))) for operator, value in bounds if value]
    if column.kind == "date":
        # The last day is meant as a whole.
        days = ((">=", chosen.get("low"), 0), ("<", chosen.get("high"), 1))
        return [Compare(name, operator, _later(column, str(day), by)) for operator, day, by in days if day]
    words = str(chosen.get("words") or "").strip()
    if not words:
        return []
    if column.kind == "folder":
        return [Under(words)]
    return [Contains(name, words) if column.anywhere else StartsWith(name, words)]


def _merge(column: Column, taken: Chosen, operand: Filter) -> Chosen | None:
    """Add an operand to the setting of a field; None if the field cannot express both."""
    if isinstance(operand, Compare) and column.kind == "number" and operand.operator in (">=", "<="):
        text = _spell(operand.value)
        bound: Chosen = {"low": text} if operand.operator == ">=" else {"high": text}
        return None if bound.keys() & taken.keys() else {**taken, **bound}
    if isinstance(operand, Compare) and column.kind == "date" and operand.operator in (">=", "<"):
        return _merge_day(taken, operand)
    if taken:
        return None
    if isinstance(operand, Compare) and operand.operator == "==":
        return _choice(column, [operand.value])
    if isinstance(operand, OneOf):
        return _choice(column, operand.values)
    if isinstance(operand, Under):
        return {"words": operand.folder}
    expected = Contains if column.anywhere else StartsWith
    if column.kind == "text" and isinstance(operand, expected):
        return {"words": operand.text}
    return None


def _merge_day(taken: Chosen, operand: Compare) -> Chosen | None:
    moment = read_moment(str(operand.value))
    if moment is None or moment % _DAY:
        return None
    side: Chosen = {"low": _day(moment)} if operand.operator == ">=" else {"high": _day(moment - _DAY)}
    return None if side.keys() & taken.keys() else {**taken, **side}


def _choice(column: Column, values: Sequence[str | int | float | bool]) -> Chosen | None:
    return {"values": [_spell(value) for value in values]} if column.kind in ("choices", "many", "bool") else None


def _texts(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _spell(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _day(moment: int) -> str:
    return format_date(moment - moment % _DAY)


def _later(column: Column, day: str, days: int) -> str:
    moment = read_moment(day.strip())
    if moment is None:
        raise InputError(f"'{day}' is not a date as 2019-05-01; the column '{column.name}' holds dates")
    return _day(moment + days * _DAY)


def _number(column: Column, text: str) -> int | float:
    text = text.strip().replace(",", ".")
    try:
        number = float(text)
    except ValueError:
        raise InputError(f"'{text}' is not a number; the column '{column.name}' holds numbers") from None
    return int(text) if column.is_integer and text.lstrip("+-").isdigit() else number
