"""Filters on a collection's own columns: built in Python or read from text, and turned into Milvus's language.

An empty cell equals nothing: `year == 2020` and `year < 2020` are false for it, `year != 2020` and `not (year < 2020)`
true. (Milvus's own NULL would be neither.) An empty text cell is the text ''.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..errors import InputError
from ..fields import ID, PATH, Field, FieldType
from ..milvus.schema import text_literal
from .columns import Columns, Value, in_range, literal, or_empty, printable, quoted, spell

MAX_VALUES = 1_000
_INVERSE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
OPERATORS = tuple(_INVERSE)
# Always false, on Milvus Lite and on servers; `not in` is always true.
_NONE = f"{ID} in []"
_ALL = f"{ID} not in []"


@dataclass(frozen=True, slots=True)
class Filter:
    """Base of all filters; combined with `&`, `|` and `~`. `str()` gives the text that `parse_filter` reads back."""

    def to_milvus(self, fields: Sequence[Field], lite: bool = True) -> str:
        """The filter as a Milvus expression, every literal quoted here.

        Args:
            fields: the collection's columns, `Store.fields()`.
            lite: whether this is Milvus Lite, which knows some operators that a server does not.

        Raises:
            InputError: a column does not exist or holds something else, or this Milvus cannot do it.
        """
        return self.expression(Columns(fields, lite), False)

    def expression(self, columns: Columns, negated: bool) -> str:
        """As `to_milvus`. Negation is carried to the leaves: Milvus's own `not` says nothing of empty cells."""
        raise NotImplementedError

    def __and__(self, other: Filter) -> Filter:
        return And((*_operands(And, self), *_operands(And, other)))

    def __or__(self, other: Filter) -> Filter:
        return Or((*_operands(Or, self), *_operands(Or, other)))

    def __invert__(self) -> Filter:
        return Not(self)


@dataclass(frozen=True, slots=True)
class Compare(Filter):
    """`column operator value`, the operator one of == != < <= > >=."""

    column: str
    operator: str
    value: Value

    def expression(self, columns: Columns, negated: bool) -> str:
        if self.operator not in _INVERSE:
            raise InputError(f"'{self.operator}' is no comparison; there are: {' '.join(OPERATORS)}")
        field = columns.find(self.column)
        if field.type is FieldType.BOOL and self.operator not in ("==", "!="):
            raise InputError(f"column '{field.name}' is true or false: compare it with == or !=")
        operator = _INVERSE[self.operator] if negated else self.operator
        plain = f"{field.name} {operator} {literal(field, self.value)}"
        takes_empty = negated != (self.operator == "!=")
        return or_empty(field, plain) if takes_empty else plain

    def __str__(self) -> str:
        return f"{self.column} {self.operator} {spell(self.value)}"


@dataclass(frozen=True, slots=True)
class OneOf(Filter):
    """`column in [values]`."""

    column: str
    values: tuple[Value, ...]

    def expression(self, columns: Columns, negated: bool) -> str:
        field = columns.find(self.column)
        if not 1 <= len(self.values) <= MAX_VALUES:
            raise InputError(f"a list has between 1 and {MAX_VALUES:,} values, not {len(self.values):,}")
        if field.type is FieldType.BOOL:  # servers know no `in` of these
            equals = tuple(Compare(self.column, "==", value) for value in self.values)
            return Or(equals).expression(columns, negated)
        values = ", ".join(literal(field, value) for value in self.values)
        plain = f"{field.name} {'not in' if negated else 'in'} [{values}]"
        return or_empty(field, plain) if negated else plain

    def __str__(self) -> str:
        return f"{self.column} in [{', '.join(map(spell, self.values))}]"


@dataclass(frozen=True, slots=True)
class StartsWith(Filter):
    """`column startswith text`. As a range, in which no character is a wildcard."""

    column: str
    text: str

    def expression(self, columns: Columns, negated: bool) -> str:
        name = columns.text(self.column).name
        if not self.text:
            raise InputError("startswith needs some text")
        return in_range(name, self.text, self.text + "\U0010ffff", negated)

    def __str__(self) -> str:
        return f"{self.column} startswith {text_literal(self.text)}"


@dataclass(frozen=True, slots=True)
class Under(Filter):
    """`path under folder`: images in this folder, at any depth. A relative folder is one of this program's."""

    folder: str

    def expression(self, columns: Columns, negated: bool) -> str:
        if not self.folder:
            raise InputError("under needs a folder")
        folder = self.folder
        if "://" not in folder:
            folder = os.path.abspath(os.path.expanduser(printable(folder)))
        separator = os.sep if "://" not in folder else posixpath.sep
        inside = folder.rstrip(separator) + separator
        return in_range(PATH, inside, inside[:-1] + chr(ord(separator) + 1), negated)

    def __str__(self) -> str:
        return f"{PATH} under {text_literal(self.folder)}"


@dataclass(frozen=True, slots=True)
class Contains(Filter):
    """`column contains text`, in which no character is a wildcard. On Milvus Lite only."""

    column: str
    text: str

    def expression(self, columns: Columns, negated: bool) -> str:
        name = columns.text(self.column).name
        if not columns.lite:
            raise InputError("a Milvus server cannot look inside texts: use ==, in or startswith instead of contains")
        if not self.text:
            raise InputError("contains needs some text")
        if "\\" in self.text:  # its own escaping is wrong there (pyarrow's `match_like`)
            raise InputError("Milvus Lite cannot look for a backslash inside texts: use ==, in or startswith")
        escaped = self.text.replace("%", "\\%").replace("_", "\\_")
        plain = f"{name} like {quoted(f'%{escaped}%')}"
        return f"not ({plain})" if negated else plain

    def __str__(self) -> str:
        return f"{self.column} contains {text_literal(self.text)}"


@dataclass(frozen=True, slots=True)
class IsEmpty(Filter):
    """`column is empty`: the cell was empty in the CSV."""

    column: str

    def expression(self, columns: Columns, negated: bool) -> str:
        field = columns.find(self.column)
        if field.type is FieldType.TEXT:
            return f'{field.name} {"!=" if negated else "=="} ""'
        if field.has_gaps:
            return f"{field.name} is {'not ' if negated else ''}null"
        return _ALL if negated else _NONE

    def __str__(self) -> str:
        return f"{self.column} is empty"


@dataclass(frozen=True, slots=True)
class Not(Filter):
    """The rows that a filter leaves out."""

    operand: Filter

    def expression(self, columns: Columns, negated: bool) -> str:
        return self.operand.expression(columns, not negated)

    def __str__(self) -> str:
        if isinstance(self.operand, OneOf):
            return str(self.operand).replace(" in [", " not in [", 1)
        if isinstance(self.operand, IsEmpty):
            return f"{self.operand.column} is not empty"
        return f"not ({self.operand})"


@dataclass(frozen=True, slots=True)
class _Several(Filter):
    operands: tuple[Filter, ...]
    word: ClassVar[str] = ""
    other: ClassVar[str] = ""

    def expression(self, columns: Columns, negated: bool) -> str:
        word = self.other if negated else self.word
        return f" {word} ".join(f"({operand.expression(columns, negated)})" for operand in self.operands)

    def __str__(self) -> str:
        return f" {self.word} ".join(
            f"({operand})" if isinstance(operand, _Several) else str(operand) for operand in self.operands
        )


@dataclass(frozen=True, slots=True)
class And(_Several):
    """All of them."""

    word: ClassVar[str] = "and"
    other: ClassVar[str] = "or"


@dataclass(frozen=True, slots=True)
class Or(_Several):
    """Any of them."""

    word: ClassVar[str] = "or"
    other: ClassVar[str] = "and"


def _operands(kind: type[_Several], operand: Filter) -> tuple[Filter, ...]:
    return operand.operands if isinstance(operand, kind) else (operand,)
