"""Filters in Milvus's expression language. Every text and number in an expression is written here as a literal.

Negation is carried down to the comparisons: Milvus's own `not` is neither true nor false for an empty cell (NULL).
"""

from __future__ import annotations

import os
import posixpath
import sys
from collections.abc import Iterable, Sequence

from ..dates import read_moment
from ..errors import InputError
from ..fetch.read import is_remote, local_path, resolve_dots
from ..fields import ID, KEY, PATH, Field, FieldType, clean_name, row_id
from ..query import And, Compare, Contains, Filter, IsEmpty, Not, OneOf, Or, StartsWith, Under
from ..query.filters import OPERATORS, Value, format_column, format_value
from .schema import SENTINELS

MAX_VALUES = 1_000
_INVERSE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
# Always false, on Milvus Lite and on servers; `not in` is always true.
_NONE, _ALL = f"{ID} in []", f"{ID} not in []"
_KINDS = {
    FieldType.TEXT: "text", FieldType.INT: "whole numbers", FieldType.FLOAT: "numbers", FieldType.BOOL: "true or false",
    FieldType.DATE: "dates as 2019-05-01",
}  # fmt: skip


def to_expression(filter: Filter, fields: Sequence[Field], lite: bool, has_keys: bool = False) -> str:
    """Translate a filter into a Milvus expression.

    Args:
        fields: the collection's columns; a filter may also name `id` and `path`, in whatever field that is.
        has_keys: whether the collection keeps the ids that are texts (since version 2).
        lite: whether this is Milvus Lite, which has some operators that a server does not have.

    Raises:
        InputError: a column does not exist or holds another type, or this Milvus lacks an operator.
    """
    return _Translator(fields, lite, has_keys).translate(filter, negated=False)


def text_literal(text: str) -> str:
    """Quote a text, safely on Milvus Lite and on servers. (Milvus's `filter_params` work on neither.)

    Raises:
        InputError: the text is not valid UTF-8: no collection holds it, and pymilvus fails on it.
    """
    _check_utf8(text)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def list_literal(texts: Iterable[str]) -> str:
    """Quote several texts, as a list for `in`."""
    return "[" + ", ".join(map(text_literal, texts)) + "]"


class _Translator:
    def __init__(self, fields: Sequence[Field], lite: bool, has_keys: bool) -> None:
        known = (Field(PATH, FieldType.TEXT, key=PATH), Field(ID, FieldType.INT, key=ID), *fields)
        self._columns = {field.name: field for field in known}
        self._lite, self._has_keys = lite, has_keys

    def translate(self, filter: Filter, negated: bool) -> str:
        match filter:
            case Not():
                return self.translate(filter.operand, not negated)
            case And() | Or():
                word = "and" if isinstance(filter, And) != negated else "or"
                return f" {word} ".join([f"({self.translate(operand, negated)})" for operand in filter.operands])
            case Compare():
                return self._compare(filter, negated)
            case OneOf():
                return self._one_of(filter, negated)
            case StartsWith():
                return self._starts_with(filter, negated)
            case Under():
                return _under(self._columns[PATH].key, filter.folder, negated)
            case Contains():
                return self._contains(filter, negated)
            case IsEmpty():
                return self._is_empty(filter, negated)
        raise TypeError(f"{type(filter).__name__} is not a filter")

    def _compare(self, filter: Compare, negated: bool) -> str:
        if filter.operator not in OPERATORS:
            raise InputError(f"'{filter.operator}' is not a comparison; there are: {' '.join(OPERATORS)}")
        field = self._find(filter.column)
        if field.type is FieldType.BOOL and filter.operator not in ("==", "!="):
            raise InputError(f"column '{field.name}' is true or false: compare it with == or !=")
        operator = _INVERSE[filter.operator] if negated else filter.operator
        if field.key == ID and operator not in ("==", "!="):
            return self._compare_number(operator, filter.value)
        expression = f"{field.key} {operator} {_literal(field, filter.value)}"
        return _settle_empty(field, operator, expression, matches_empty=negated != (filter.operator == "!="))

    def _compare_number(self, operator: str, value: Value) -> str:
        """An order of ids: those that are texts have none."""
        if isinstance(value, str):
            raise InputError(f"ids that are texts have no order: compare {format_value(value)} with ==, != or in")
        field = self._columns[ID]
        expression = f"{ID} {operator} {_literal(field, value)}"
        return f'({expression} and {KEY} == "")' if self._has_keys else expression

    def _one_of(self, filter: OneOf, negated: bool) -> str:
        field = self._find(filter.column)
        if not 1 <= len(filter.values) <= MAX_VALUES:
            raise InputError(f"a list has between 1 and {MAX_VALUES:,} values, not {len(filter.values):,}")
        if field.type is FieldType.BOOL:  # servers have no `in` for these
            return self.translate(Or(tuple(Compare(field.name, "==", value) for value in filter.values)), negated)
        values = ", ".join([_literal(field, value) for value in filter.values])
        expression = f"{field.key} {'not in' if negated else 'in'} [{values}]"
        return _settle_empty(field, "in", expression, matches_empty=negated)

    def _starts_with(self, filter: StartsWith, negated: bool) -> str:
        key = self._find_text(filter.column).key
        if not filter.text:
            raise InputError("startswith needs some text")
        return _in_range(key, filter.text, filter.text + "\U0010ffff", negated)

    def _contains(self, filter: Contains, negated: bool) -> str:
        key = self._find_text(filter.column).key
        if not self._lite:
            raise InputError("a Milvus server cannot look inside texts: use ==, in or startswith instead of contains")
        if not filter.text:
            raise InputError("contains needs some text")
        if "\\" in filter.text:  # pyarrow's `match_like`, which Milvus Lite calls, escapes it wrongly
            raise InputError("Milvus Lite cannot look for a backslash inside texts: use ==, in or startswith")
        escaped = filter.text.replace("%", "\\%").replace("_", "\\_")
        expression = f"{key} like {text_literal(f'%{escaped}%')}"
        return f"not ({expression})" if negated else expression

    def _is_empty(self, filter: IsEmpty, negated: bool) -> str:
        field = self._find(filter.column)
        if field.type is FieldType.TEXT:
            return f'{field.key} {"!=" if negated else "=="} ""'
        if field.has_gaps and field.nullable:
            return f"{field.key} is {'not ' if negated else ''}null"
        if field.has_gaps:
            return f"{field.key} {'!=' if negated else '=='} {SENTINELS[field.type]!r}"
        return _ALL if negated else _NONE

    def _find(self, name: str) -> Field:
        name = clean_name(name)
        if name not in self._columns:
            known = ", ".join(map(format_column, self._columns))
            raise InputError(" ".join(f"there is no column '{name}'; the columns are: {known}".split()))
        return self._columns[name]

    def _find_text(self, name: str) -> Field:
        field = self._find(name)
        if name == ID and self._has_keys:
            return Field(ID, FieldType.TEXT, key=KEY)
        if field.type is not FieldType.TEXT:
            raise InputError(f"column '{name}' holds {_KINDS[field.type]}, not text")
        return field


def _under(key: str, folder: str, negated: bool) -> str:
    if not folder:
        raise InputError("under needs a folder")
    _check_utf8(folder)  # the functions of os.path fail on other text, and on a zero
    if "\0" in folder:
        raise InputError("a folder's name has no zero character")
    if is_remote(folder):
        return _inside(key, folder, posixpath.sep, negated)
    typed = resolve_dots(os.path.expanduser(local_path(folder)))
    # A folder's images are stored by their real path, those of a CSV as it lists them.
    ranges = [_inside(key, path, os.sep, negated) for path in dict.fromkeys((typed, os.path.realpath(typed)))]
    return ranges[0] if len(ranges) == 1 else f"({(' and ' if negated else ' or ').join(ranges)})"


def _inside(key: str, folder: str, separator: str, negated: bool) -> str:
    inside = folder.rstrip(separator) + separator
    return _in_range(key, inside, inside[:-1] + chr(ord(separator) + 1), negated)


def _in_range(key: str, start: str, end: str, negated: bool) -> str:
    """Texts with one prefix, as a range: unlike in Milvus's `like`, no character is a wildcard."""
    if negated:
        return f"({key} < {text_literal(start)} or {key} >= {text_literal(end)})"
    return f"({key} >= {text_literal(start)} and {key} < {text_literal(end)})"


def _settle_empty(field: Field, operator: str, expression: str, matches_empty: bool) -> str:
    """Take empty cells into the rows that match, or out of them. A sentinel is below all values and equals none."""
    if not field.has_gaps:
        return expression
    if field.nullable:
        return f"({expression} or {field.key} is null)" if matches_empty else expression
    sentinel = repr(SENTINELS[field.type])
    if matches_empty and operator in ("<", "<=", ">", ">="):
        return f"({expression} or {field.key} == {sentinel})"
    if not matches_empty and operator in ("<", "<="):
        return f"({expression} and {field.key} != {sentinel})"
    return expression


def _literal(field: Field, value: Value) -> str:
    if field.type is FieldType.TEXT and isinstance(value, str):
        return text_literal(value)
    if field.key == ID and isinstance(value, str):
        return str(row_id(value))
    if field.type is FieldType.BOOL and isinstance(value, bool):
        is_int8 = field.has_gaps and not field.nullable
        return str(int(value)) if is_int8 else "true" if value else "false"
    if field.type is FieldType.DATE and not isinstance(value, bool):
        moment = read_moment(str(value))
        if moment is not None:
            return str(moment)
    elif not isinstance(value, (bool, str)) and abs(value) <= sys.float_info.max:  # False for infinity and NaN
        if field.type is FieldType.FLOAT:
            return repr(float(value))
        if field.type is FieldType.INT and value == int(value):
            if not -(2**63) <= value < 2**63:
                raise InputError(f"{value:g} has more than 64 bits")
            return str(int(value))
    raise InputError(f"column '{field.name}' holds {_KINDS[field.type]}, not {format_value(value)}")


def _check_utf8(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError("a text of the filter is not valid UTF-8") from None
