"""A CSV of pictures: `id,path,label` and any further columns. pandas reads it in chunks, twice.

The first pass checks everything that would stop the run later and finds each column's type; the second yields the
rows. A million rows need the memory of one chunk and 8 bytes a row for the ids.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .errors import InputError
from .schema import ID, PATH, Field, FieldType, field_name
from .source import Row, path_id

if TYPE_CHECKING:
    import pandas as pd

SCAN_ROWS = 20_000
HEADER_ROWS = 1  # so that row numbers are those a spreadsheet shows

_INT = re.compile(r"[+-]?(0|[1-9]\d{0,17})")  # a leading zero makes it a code, not a number
_FLOAT = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")
_BOOL = re.compile(r"true|false", re.IGNORECASE)


class _Format(NamedTuple):
    encoding: str
    separator: str
    columns: list[str]


class CsvFile:
    """A checked CSV. Relative paths are relative to the CSV's own folder.

    Raises:
        InputError: naming the file, the row and the column.
    """

    def __init__(self, path: Path, limit: int = 0) -> None:
        self._path = path
        self._base = os.path.abspath(path.parent)
        self._limit = limit
        self._format = _sniff(path)
        self._has_id = ID in self._format.columns
        self._names = _field_names(path, self._format.columns)
        self.fields, self.total = self._scan()

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """The rows, `size` at a time."""
        parse = {field.name: (field, _PARSERS[field.type]) for field in self.fields}
        line = HEADER_ROWS
        for table in self._read(size):
            ids = table[ID].astype("int64").tolist() if self._has_id else None
            columns = {name: table[column].tolist() for column, name in self._names.items()}
            rows: list[Row] = []
            for index, raw_path in enumerate(table[PATH].tolist()):
                line += 1
                path = self._absolute(raw_path)
                values = {
                    name: parser(column[index]) if column[index] else field.default
                    for (name, column), (field, parser) in zip(columns.items(), parse.values(), strict=True)
                }
                rows.append(Row(ids[index] if ids else path_id(path), path, line, values))
            yield rows

    def _absolute(self, path: str) -> str:
        return os.path.normpath(os.path.join(self._base, os.path.expanduser(path))) if path else ""

    def _read(self, size: int) -> Iterator[pd.DataFrame]:
        """The table, every cell as text, at most `limit` rows."""
        import pandas as pd

        try:
            yield from pd.read_csv(
                self._path, dtype=str, keep_default_na=False, na_filter=False, skipinitialspace=True, chunksize=size,
                encoding=self._format.encoding, sep=self._format.separator, nrows=self._limit or None,
                names=self._format.columns, header=0, index_col=False,
            )  # fmt: skip
        except UnicodeDecodeError as error:
            raise InputError(_encoding_message(self._path, error)) from error
        except pd.errors.ParserError as error:
            reason = str(error).split("error:")[-1].strip()
            raise InputError(f"{self._path} is not a well-formed CSV: {reason}") from error

    def _scan(self) -> tuple[tuple[Field, ...], int]:
        guesses = {column: _Guess() for column in self._names}
        keys: list[np.ndarray] = []
        total = 0
        for table in self._read(SCAN_ROWS):
            keys.append(self._keys(table, total + HEADER_ROWS + 1))
            total += len(table)
            for column, guess in guesses.items():
                guess.look_at(table[column].unique())
        if not total:
            raise InputError(f"{self._path} has a header but no rows")
        self._refuse_duplicates(np.concatenate(keys))
        guesses.get("label", _Guess()).kinds = [FieldType.TEXT]  # labels are names, also where they look like numbers
        fields = tuple(
            Field(name, guesses[column].type, guesses[column].has_gaps) for column, name in self._names.items()
        )
        return fields, total

    def _keys(self, table: pd.DataFrame, first_line: int) -> np.ndarray:
        """int64 ids of a chunk, given or derived."""
        if not self._has_id:
            return np.array([path_id(self._absolute(path)) for path in table[PATH]], np.int64)
        keys = np.empty(len(table), np.int64)
        for index, text in enumerate(table[ID]):
            try:
                keys[index] = int(text)
            except (ValueError, OverflowError):
                raise InputError(
                    f"{self._path}, row {first_line + index}, column 'id': '{text}' is not a whole number of 64 bits; "
                    "rename the column and ids are derived from the paths"
                ) from None
        return keys

    def _refuse_duplicates(self, keys: np.ndarray) -> None:
        order = np.argsort(keys, kind="stable")
        repeats = np.flatnonzero(keys[order][1:] == keys[order][:-1])
        if not repeats.size:
            return
        lines = order + HEADER_ROWS + 1
        at = repeats[np.argmin(lines[repeats + 1])]
        what = f"id {keys[order][at]}" if self._has_id else "path"
        column = ID if self._has_id else PATH
        more = f" ({repeats.size} repeats in all)" if repeats.size > 1 else ""
        raise InputError(
            f"{self._path}, rows {lines[at]} and {lines[at + 1]}, column '{column}': the same {what} twice{more}"
        )


class _Guess:
    """Narrows a column's type as its values are seen."""

    def __init__(self) -> None:
        self.kinds = [FieldType.BOOL, FieldType.INT, FieldType.FLOAT]
        self.has_gaps = False
        self._seen = False

    def look_at(self, values: Any) -> None:
        """Values as text; '' is an empty cell."""
        patterns = {FieldType.BOOL: _BOOL, FieldType.INT: _INT, FieldType.FLOAT: _FLOAT}
        for value in values:
            if value == "":
                self.has_gaps = True
                continue
            self._seen = True
            self.kinds = [kind for kind in self.kinds if kind in patterns and patterns[kind].fullmatch(value)]
            if not self.kinds and self.has_gaps:
                return

    @property
    def type(self) -> FieldType:
        """The narrowest type all values fit, text where none does or nothing was seen."""
        return self.kinds[0] if self.kinds and (self._seen or self.kinds == [FieldType.TEXT]) else FieldType.TEXT


_PARSERS: dict[FieldType, Any] = {
    FieldType.INT: int,
    FieldType.FLOAT: float,
    FieldType.BOOL: lambda text: text.lower() == "true",
    FieldType.TEXT: str,
}


def _sniff(path: Path) -> _Format:
    """Encoding by the byte-order mark (else UTF-8), separator by which one makes a `path` column."""
    with open(path, "rb") as file:
        start = file.read(1 << 16)
    if not start.strip():
        raise InputError(f"{path} is empty")
    wide = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if wide else "utf-8-sig"
    text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(start)
    if "\0" in text:
        raise InputError(f"{path} is not a CSV (it holds binary data)")
    header = text.lstrip("\r\n").splitlines()[0]
    for separator in ",;\t":
        columns = [column.strip().strip('"').strip() for column in header.split(separator)]
        if PATH in columns:
            break
    else:
        names = ", ".join(column.strip().strip('"') for column in header.split(","))
        raise InputError(f"{path}, row 1: there is no column 'path' (the columns are: {names[:200]})")
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise InputError(f"{path}, row 1: there are two columns '{twice[0]}'")
    return _Format(encoding, separator, columns)


def _field_names(path: Path, columns: list[str]) -> dict[str, str]:
    """Column → field, for all columns but id and path."""
    names: dict[str, str] = {}
    for column in columns:
        if column in (ID, PATH):
            continue
        name = field_name(column)
        if name in names.values():
            raise InputError(f"{path}, row 1: two columns become the field '{name}'; rename '{column}'")
        names[column] = name
    return names


def _encoding_message(path: Path, error: UnicodeDecodeError) -> str:
    """Says in which row the first byte is that is not UTF-8; pandas only knows a place in its buffer."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                decoder.decode(line)
            except UnicodeDecodeError as first:
                byte = line[first.start] if first.start < len(line) else 0
                return f"{path}, row {number}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8 and run again"
    return f"{path} is not UTF-8 ({error.reason}); save the file as UTF-8 and run again"
