"""Find the rows of a column table that match a filter: the same that Milvus finds with the filter's expression."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dates import read_moment
from ..fields import ID, KEY, PATH, FieldType, clean_name, row_id
from ..milvus.filter_expression import folder_prefixes
from ..query import And, Compare, Contains, Filter, IsEmpty, Not, OneOf, Or, StartsWith, Under
from ..query.filters import Value
from .column_table import Column, ColumnTable

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBERS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_TEXTS = {
    "==": "equal", "!=": "not_equal", "<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal",
}  # fmt: skip


def matching_rows(filter: Filter, table: ColumnTable) -> np.ndarray:
    """Return which rows match a filter that `to_expression` has accepted: bool[n]."""
    match filter:
        case Not():
            return ~matching_rows(filter.operand, table)
        case And() | Or():
            join = np.logical_and if isinstance(filter, And) else np.logical_or
            found: np.ndarray = join.reduce([matching_rows(operand, table) for operand in filter.operands])
            return found
        case Compare():
            return _compare(filter, table)
        case OneOf():
            return _one_of(filter, table)
        case StartsWith() | Contains():
            function = "starts_with" if isinstance(filter, StartsWith) else "match_substring"
            return _text_column(filter.column, table).of_texts(lambda texts: _call(function, texts, filter.text))
        case Under():
            paths = table.column(PATH)
            starts = [
                paths.of_texts(lambda texts, start=start: _call("starts_with", texts, start))  # type: ignore[misc]
                for start in folder_prefixes(filter.folder)
            ]
            inside: np.ndarray = np.logical_or.reduce(starts)
            return inside
        case IsEmpty():
            return np.zeros(len(table), bool) if filter.column == ID else table.column(filter.column).empty
    raise TypeError(f"{type(filter).__name__} is not a filter")


class Matched:
    """The rows that match a filter, with or without its conditions on one column.

    A user who has chosen a value can then see how many rows the other values of the same column have.

    Args:
        kept: the rows to consider, bool[n].
    """

    def __init__(self, filter: Filter | None, table: ColumnTable, kept: np.ndarray) -> None:
        self._kept = kept
        self._parts = [(_columns(part), matching_rows(part, table)) for part in _conditions(filter)]
        self.rows = self.without("")

    def without(self, column: str) -> np.ndarray:
        """Return the rows that match all conditions except those on this column alone: bool[n]."""
        own = {clean_name(column)}
        return reduce(np.logical_and, (mask for columns, mask in self._parts if columns != own), self._kept)


def _conditions(filter: Filter | None) -> Iterator[Filter]:
    """The conditions that a filter joins with `and`; a filter of another kind is the only one."""
    if isinstance(filter, And):
        for operand in filter.operands:
            yield from _conditions(operand)
    elif filter is not None:
        yield filter


def _columns(filter: Filter) -> set[str]:
    """The columns that a filter reads."""
    match filter:
        case And() | Or():
            return set().union(*map(_columns, filter.operands))
        case Not():
            return _columns(filter.operand)
        case Under():
            return {PATH}
        case Compare() | OneOf() | StartsWith() | Contains() | IsEmpty():
            return {clean_name(filter.column)}
    raise TypeError(f"{type(filter).__name__} is not a filter")


def _compare(filter: Compare, table: ColumnTable) -> np.ndarray:
    if filter.column == ID:
        return _compare_id(filter, table)
    column = table.column(filter.column)
    if column.distinct is not None:
        return column.of_texts(lambda texts: _call_with(_TEXTS[filter.operator], texts, filter.value))
    found = _numbers(filter.operator, column.values, _number(column, filter.value))
    found[column.empty] = filter.operator == "!="
    return found


def _compare_id(filter: Compare, table: ColumnTable) -> np.ndarray:
    if filter.operator in ("==", "!="):
        return _numbers(filter.operator, table.ids, row_id(_id(filter.value)))
    found = _numbers(filter.operator, table.ids, filter.value)
    if table.has_keys:
        found &= table.column(KEY).empty
    return found


def _numbers(operator: str, cells: np.ndarray, value: Value) -> np.ndarray:
    found: np.ndarray = _NUMBERS[operator](cells, value)
    return found


def _one_of(filter: OneOf, table: ColumnTable) -> np.ndarray:
    if filter.column == ID:
        return np.isin(table.ids, [row_id(_id(value)) for value in filter.values])
    column = table.column(filter.column)
    if column.distinct is not None:
        return column.of_texts(lambda texts: _is_in(texts, filter.values))
    found: np.ndarray = np.isin(column.values, [_number(column, value) for value in filter.values])
    found[column.empty] = False
    return found


def _text_column(name: str, table: ColumnTable) -> Column:
    return table.column(KEY if name == ID else name)


def _number(column: Column, value: Value) -> int | float:
    if column.field.type is FieldType.DATE:
        return read_moment(str(value)) or 0
    return float(value) if column.field.type is FieldType.FLOAT else int(value)


def _id(value: Value) -> int | str:
    return value if isinstance(value, str) else int(value)


def _call(function: str, texts: pa.Array, pattern: str) -> pa.Array:
    import pyarrow.compute as pc

    return getattr(pc, function)(texts, pattern)


def _call_with(function: str, texts: pa.Array, value: Value) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return getattr(pc, function)(texts, pa.scalar(value, texts.type))


def _is_in(texts: pa.Array, values: tuple[Value, ...]) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.is_in(texts, value_set=pa.array(values, texts.type))
