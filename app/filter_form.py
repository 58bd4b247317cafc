"""Convert the filter form to a filter, and a filter to the form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pipelines.dates import read_moment
from pipelines.errors import InputError
from pipelines.fields import PATH, format_date
from pipelines.query import And, Compare, Contains, Filter, Not, OneOf, Or, StartsWith, Under, parse_filter

from .form_fields import Chosen, Column

_DAY = 86_400_000  # milliseconds


class Condition(NamedTuple):
    """A part of a filter that can be removed: the operands set by one field, or an operand that fits no field."""

    operands: tuple[Filter, ...]
    column: Column | None
    chosen: Chosen

    def __str__(self) -> str:
        return " and ".join(map(str, self.operands))


class Form(NamedTuple):
    """A filter split into the value of each field, and conditions that no field can express."""

    chosen: dict[str, Chosen]
    conditions: str


def read_form(
    columns: Sequence[Column],
    form: Mapping[str, Any],
    conditions: str,
    parse: Callable[[str], Filter] = parse_filter,
) -> Filter | None:
    """Return the filter for a filled-in form; None for an empty form.

    Args:
        parse: parses the conditions. The parser of a collection also knows its columns.

    Raises:
        InputError: a bound is not a number or a day, or the conditions are not a filter.
    """
    operands: list[Filter] = []
    for column in columns:
        chosen = form.get(column.name)
        if isinstance(chosen, Mapping):
            operands += _operands(column, chosen)
    if conditions.strip():
        operands += _split(parse(conditions))
    return _all_of(operands)


def take_apart(columns: Sequence[Column], condition: Filter | None) -> list[Condition]:
    """Split a filter into conditions: one for each field that is set, and one for each operand that fits no field."""
    by_name = {column.name: column for column in columns}
    found: dict[str | int, Condition] = {}
    for operand in _split(condition) if condition else ():
        name = PATH if isinstance(operand, Under) else str(getattr(operand, "column", ""))
        column, before = by_name.get(name), found.get(name, Condition((), None, {}))
        merged = _merge(column, before.chosen, operand) if column else None
        if merged is None:
            found[len(found)] = Condition((operand,), None, {})
        else:
            found[name] = Condition((*before.operands, operand), column, merged)
    return list(found.values())


def fill_form(columns: Sequence[Column], condition: Filter | None, text: str = "") -> Form:
    """Return the form for a filter. Operands that fit no field become `conditions`.

    Args:
        text: the filter as text. It becomes `conditions` if it could not be parsed.
    """
    if condition is None:
        return Form({}, text)
    conditions = take_apart(columns, condition)
    chosen = {each.column.name: each.chosen for each in conditions if each.column}
    rest = [operand for each in conditions if not each.column for operand in each.operands]
    return Form(chosen, str(_all_of(rest) or ""))


def leave_out(condition: Filter, part: Condition) -> Filter | None:
    """Return a filter without one of its conditions."""
    return _all_of([operand for operand in _split(condition) if operand not in part.operands])


def replace_value(condition: Filter, column: str, old: str, new: str) -> Filter:
    """Return a filter in which a column is compared with `new` instead of `old`."""
    match condition:
        case And(operands):
            return And(tuple(replace_value(operand, column, old, new) for operand in operands))
        case Or(operands):
            return Or(tuple(replace_value(operand, column, old, new) for operand in operands))
        case Not(operand):
            return Not(replace_value(operand, column, old, new))
        case Compare(name, operator, value) if (name, value) == (column, old):
            return Compare(name, operator, new)
        case OneOf(name, values) if name == column:
            return OneOf(name, tuple(new if value == old else value for value in values))
    return condition


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
        # The last day is included, so the filter ends before the day after it.
        days = ((">=", chosen.get("low"), 0), ("<", chosen.get("high"), 1))
        return [Compare(name, operator, _later(column, str(day), by)) for operator, day, by in days if day]
    words = str(chosen.get("words") or "").strip()
    if not words:
        return []
    if column.kind == "folder":
        return [Under(words)]
    return [Contains(name, words) if column.anywhere else StartsWith(name, words)]


def _merge(column: Column, taken: Chosen, operand: Filter) -> Chosen | None:
    """Add an operand to the value of a field; return None if the field cannot express both."""
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
        message = f"'{day}' is not a date as 2019-05-01; the column '{column.name}' holds dates"
        raise InputError(message, "error_date", text=day, field=column.name)
    return _day(moment + days * _DAY)


def _number(column: Column, text: str) -> int | float:
    text = text.strip().replace(",", ".")
    try:
        number = float(text)
    except ValueError:
        message = f"'{text}' is not a number; the column '{column.name}' holds numbers"
        raise InputError(message, "error_number", text=text, field=column.name) from None
    return int(text) if column.is_integer and text.lstrip("+-").isdigit() else number
