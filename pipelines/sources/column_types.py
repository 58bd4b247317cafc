"""The type of a table's column: the narrowest that fits all cells, or the one that `--types` requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from ..dates import read_date
from ..errors import InputError
from ..fields import LABEL, Field, FieldType, clean_name

# How programs write an empty cell. Only text columns keep these as they are written.
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "-"})
# A leading zero or plus marks a code or a telephone number, which stays text; so does a number with too many digits.
_PATTERNS = {
    FieldType.BOOL: re.compile(r"\s*(true|false)\s*", re.IGNORECASE),
    FieldType.INT: re.compile(r"\s*-?(0|[1-9]\d{0,17})\s*", re.ASCII),
    FieldType.FLOAT: re.compile(r"\s*-?((0|[1-9]\d{0,14})(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?\s*", re.ASCII),
}
# What the cells of a column with a requested type may hold.
_ACCEPTED = {
    FieldType.BOOL: re.compile(r"\s*(true|false|yes|no|1|0)\s*", re.IGNORECASE | re.ASCII),
    FieldType.INT: re.compile(r"\s*[+-]?\d{1,18}\s*", re.ASCII),
    FieldType.FLOAT: re.compile(r"\s*[+-]?(\d{1,99}\.?\d*|\.\d+)([eE][+-]?\d{1,2})?\s*", re.ASCII),
}
_PARSERS: dict[FieldType, Callable[[str], Any]] = {
    FieldType.BOOL: lambda cell: cell.strip().lower() in ("true", "yes", "1"),
    FieldType.INT: int,
    FieldType.FLOAT: float,
    FieldType.TEXT: str,
}
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)", re.ASCII)
_FORMS = ("dmy", "mdy", "ymd")


class ColumnType(NamedTuple):
    """A type that was requested or found.

    form: the order of a date's numbers: dmy, mdy or ymd; '' takes it from the cells.
    """

    type: FieldType
    form: str = ""

    def __str__(self) -> str:
        return f"{self.type.value}:{self.form}" if self.form else self.type.value

    @classmethod
    def parse(cls, text: str) -> ColumnType:
        """Read `int`, `float`, `bool`, `text`, `date`, `date:dmy`, `date:mdy` or `date:ymd`.

        Raises:
            InputError: the text is anything else.
        """
        name, _, form = text.strip().partition(":")
        if name in {type.value for type in FieldType} and (not form or (name == "date" and form in _FORMS)):
            return cls(FieldType(name), form)
        known = ", ".join([*(type.value for type in FieldType), *(f"date:{form}" for form in _FORMS)])
        raise InputError(f"--types: there is no type '{text}'; there are: {known}")

    def read(self, cell: str) -> Any:
        """Return the value of a cell. An empty cell is None, or '' in a text column.

        Raises:
            ValueError: the cell does not fit.
        """
        if self.type is FieldType.TEXT:
            return cell
        if is_missing(cell):
            return None
        if self.type in _ACCEPTED and not _ACCEPTED[self.type].fullmatch(cell):
            raise ValueError(cell)
        return self.parser(cell)

    def fits(self, cell: str) -> bool:
        """Whether a cell can be read."""
        try:
            self.read(cell)
        except ValueError:
            return False
        return True

    @property
    def parser(self) -> Callable[[str], Any]:
        """A function that parses cells that are not empty and are known to fit."""
        return partial(_parse_date, form=self.form) if self.type is FieldType.DATE else _PARSERS[self.type]


NO_TYPES: Mapping[str, ColumnType] = MappingProxyType({})


def parse_types(options: Iterable[str]) -> dict[str, ColumnType]:
    """Read options `COLUMN=TYPE[:FORM]`, at most one for each column.

    Raises:
        InputError: an option is anything else.
    """
    types: dict[str, ColumnType] = {}
    for option in options:
        name, equals, type = option.rpartition("=")
        column = clean_name(name)
        if not equals or column in types:
            raise InputError(f"--types is COLUMN=TYPE, once for each column, as taken=date:dmy, not '{option}'")
        types[column] = ColumnType.parse(type)
    return types


def refuse_unknown(types: Mapping[str, ColumnType], columns: Iterable[str]) -> None:
    """Check that every column with a requested type exists. The type of labels is always text, because they are names.

    Raises:
        InputError: a column does not exist or is the label.
    """
    typed = [column for column in columns if column != LABEL]
    for column in types:
        if column not in typed:
            raise InputError(f"--types: there is no column '{column}' to type; there are: {', '.join(typed) or 'none'}")


def is_missing(cell: str) -> bool:
    """Whether a number, date or bool column treats this cell as empty."""
    return cell.strip().lower() in _MISSING


class TypeGuess:
    """Narrows a column's type as it sees the cells, unless a type was requested.

    missing: the cells that a number, date or bool column treats as empty.
    """

    def __init__(self, requested: ColumnType | None = None) -> None:
        self.missing: set[str] = set()
        self.requested = requested
        self._types = [*_PATTERNS]
        self._seen = False
        self._orders = {"dmy", "mdy"}
        self._orders_differ = False

    def look_at(self, cells: Iterable[str]) -> set[str]:
        """Look at more cells, as they are written. Return those that do not fit the requested type."""
        distinct = set(cells)
        misfits = {cell for cell in distinct if not self.requested.fits(cell)} if self.requested else set()
        # A column that can only be text needs no closer look.
        is_open = self._types or self._orders
        missing = set(filter(is_missing, distinct)) if is_open else distinct & {""}
        self.missing |= missing
        distinct -= missing
        if distinct:
            self._seen = True
            self._types = [one for one in self._types if all(map(_PATTERNS[one].fullmatch, distinct))]
            self._look_for_dates(distinct)
        return misfits

    def _look_for_dates(self, cells: Iterable[str]) -> None:
        for cell in cells:
            if not self._orders:
                return
            day_first, month_first = read_date(cell)
            if day_first is None:
                self._orders.discard("dmy")
            if month_first is None:
                self._orders.discard("mdy")
            self._orders_differ |= day_first != month_first

    @property
    def is_undecided(self) -> bool:
        """Whether the cells are dates that may have the day or the month first, and no form was requested."""
        is_open = len(self._orders) == 2 or (self.requested is not None and not self._orders)
        return self._orders_differ and is_open and self.requested in (None, ColumnType(FieldType.DATE))

    @property
    def type(self) -> ColumnType:
        """The requested type, else the narrowest that fits all cells: text if no other fits or all cells are empty."""
        if self.requested and self.requested.type is not FieldType.DATE:
            return self.requested
        if self.requested:
            return ColumnType(FieldType.DATE, self.requested.form or min(self._orders, default="dmy"))
        if self._seen and self._types:
            return ColumnType(self._types[0])
        if self._seen and self._orders and not self.is_undecided:
            return ColumnType(FieldType.DATE, min(self._orders))
        return ColumnType(FieldType.TEXT)

    def field(self, name: str) -> Field:
        """The column as a field. Labels are text, even if they look like numbers."""
        type = FieldType.TEXT if name == LABEL else self.type.type
        return Field(name, type, has_gaps="" in self.missing if type is FieldType.TEXT else bool(self.missing))


def _parse_date(cell: str, form: str) -> int:
    """Return the date. Raise ValueError if the cell is not a date of this form; '' accepts either order."""
    if form == "ymd":
        cell = _COMPACT.sub(r"\1-\2-\3", cell) if _COMPACT.fullmatch(cell.strip()) else cell
    day_first, month_first = read_date(cell)
    moment = month_first if form == "mdy" or (not form and day_first is None) else day_first
    if moment is None or (form == "ymd" and day_first != month_first):
        raise ValueError(cell)
    return moment
