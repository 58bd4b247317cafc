"""Filters in Milvus's expression language.

Negation is pushed down to the comparisons: Milvus's own `not` is neither true nor false for an empty cell (NULL).
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence

from ..errors import BadFilter
from ..fetch.read import is_remote, local_path, resolve_dots
from ..fields import ID, KEY, PATH, Field, FieldType, clean_name
from ..query import And, Compare, Contains, Filter, IsEmpty, Not, OneOf, Or, StartsWith, Under
from ..query.filters import OPERATORS, Value, format_column, format_value
from .literals import KINDS, check_utf8, for_server, text_literal, value_literal
from .schema import SENTINELS

MAX_VALUES = 1_000
_INVERSE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
# An empty `in` is always false, an empty `not in` always true, on Milvus Lite and on servers.
_NONE, ALL = f"{ID} in []", f"{ID} not in []"


def to_expression(filter: Filter, fields: Sequence[Field], lite: bool, has_keys: bool = False) -> str:
    """Translate a filter into a Milvus expression.

    Args:
        fields: the collection's columns. A filter may also name `id` and `path`, whichever field holds them.
        has_keys: whether the collection stores ids that are texts (since version 2).
        lite: whether this is Milvus Lite, which has an operator that servers lack.

    Raises:
        BadFilter: a column does not exist or holds another type, or this Milvus lacks an operator.
    """
    return _Translator(fields, lite, has_keys).translate(filter, negated=False)


def folder_prefixes(folder: str) -> list[str]:
    """Return the prefixes that the paths of a folder's images can have, at any depth.

    Raises:
        BadFilter: this cannot be the name of a folder.
    """
    if not folder:
        raise BadFilter("under needs a folder")
    check_utf8(folder)  # the functions of os.path fail on other text, and on a zero character
    if "\0" in folder:
        raise BadFilter("a folder's name has no zero character")
    if is_remote(folder):
        return [folder.rstrip(posixpath.sep) + posixpath.sep]
    typed = resolve_dots(os.path.expanduser(local_path(folder)))
    # Images of a folder are stored by their real path, images of a CSV by the path that it lists.
    paths = dict.fromkeys((typed, os.path.realpath(typed)))
    return [path.rstrip(os.sep) + os.sep for path in paths]


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
            raise BadFilter(f"'{filter.operator}' is not a comparison; there are: {' '.join(OPERATORS)}")
        field = self._find(filter.column)
        if field.type is FieldType.BOOL and filter.operator not in ("==", "!="):
            raise BadFilter(f"column '{field.name}' is true or false: compare it with == or !=")
        operator = _INVERSE[filter.operator] if negated else filter.operator
        if field.key == ID and operator not in ("==", "!="):
            return self._compare_number(operator, filter.value)
        expression = f"{field.key} {operator} {self._literal(field, filter.value)}"
        return _settle_empty(field, operator, expression, matches_empty=negated != (filter.operator == "!="))

    def _compare_number(self, operator: str, value: Value) -> str:
        """Compare ids by their order. Ids that are texts have no order."""
        if isinstance(value, str):
            raise BadFilter(f"ids that are texts have no order: compare {format_value(value)} with ==, != or in")
        field = self._columns[ID]
        expression = f"{ID} {operator} {self._literal(field, value)}"
        return f'({expression} and {KEY} == "")' if self._has_keys else expression

    def _one_of(self, filter: OneOf, negated: bool) -> str:
        field = self._find(filter.column)
        if not 1 <= len(filter.values) <= MAX_VALUES:
            raise BadFilter(f"a list has between 1 and {MAX_VALUES:,} values, not {len(filter.values):,}")
        if field.type is FieldType.BOOL:  # servers have no `in` for booleans
            return self.translate(Or(tuple(Compare(field.name, "==", value) for value in filter.values)), negated)
        values = ", ".join([self._literal(field, value) for value in filter.values])
        expression = f"{field.key} {'not in' if negated else 'in'} [{values}]"
        return _settle_empty(field, "in", expression, matches_empty=negated)

    def _starts_with(self, filter: StartsWith, negated: bool) -> str:
        key = self._find_text(filter.column).key
        if not filter.text:
            raise BadFilter("startswith needs some text")
        return _in_range(key, filter.text, filter.text + "\U0010ffff", negated)

    def _contains(self, filter: Contains, negated: bool) -> str:
        key = self._find_text(filter.column).key
        if not self._lite:
            raise BadFilter("a Milvus server cannot look inside texts: use ==, in or startswith instead of contains")
        if not filter.text:
            raise BadFilter("contains needs some text")
        if "\\" in filter.text:  # pyarrow's `match_like`, which Milvus Lite calls, escapes it wrongly
            raise BadFilter("Milvus Lite cannot look for a backslash inside texts: use ==, in or startswith")
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
        return ALL if negated else _NONE

    def _literal(self, field: Field, value: Value) -> str:
        text = value_literal(field, value)
        return text if self._lite else for_server(text)

    def _find(self, name: str) -> Field:
        name = clean_name(name)
        if name not in self._columns:
            known = ", ".join(map(format_column, self._columns))
            message = " ".join(f"there is no column '{name}'; the columns are: {known}".split())
            raise BadFilter(message, "error_no_column", name=name, columns=known)
        return self._columns[name]

    def _find_text(self, name: str) -> Field:
        field = self._find(name)
        if name == ID and self._has_keys:
            return Field(ID, FieldType.TEXT, key=KEY)
        if field.type is not FieldType.TEXT:
            raise BadFilter(f"column '{name}' holds {KINDS[field.type]}, not text")
        return field


def _under(key: str, folder: str, negated: bool) -> str:
    ranges = [_in_range(key, start, start[:-1] + chr(ord(start[-1]) + 1), negated) for start in folder_prefixes(folder)]
    return ranges[0] if len(ranges) == 1 else f"({(' and ' if negated else ' or ').join(ranges)})"


def _in_range(key: str, start: str, end: str, negated: bool) -> str:
    """Match the texts with a prefix as a range: unlike in Milvus's `like`, no character is a wildcard."""
    if negated:
        return f"({key} < {text_literal(start)} or {key} >= {text_literal(end)})"
    return f"({key} >= {text_literal(start)} and {key} < {text_literal(end)})"


def _settle_empty(field: Field, operator: str, expression: str, matches_empty: bool) -> str:
    """Make an expression match empty cells, or not match them. A sentinel is below all values and equals none."""
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
