"""A CSV of images: `id,path,label` and any further columns. pandas reads it in chunks, twice.

The first pass checks everything that would stop the run later and finds each column's type; the second yields the
rows. A million rows need the memory of one chunk and 12 bytes a row, for the ids and their row numbers.

The standard library's reader has the header, and the search for the row where pandas gave up.
"""

from __future__ import annotations

import os
import re
import sys
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import compress, islice, repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..fields import ID, PATH, Field, FieldType, field_name
from .cell_types import PARSERS, TypeGuess
from .csv_text import Layout, explain_encoding, records, shown, sniff
from .paths import absolute_in
from .shard import WHOLE, Shard
from .source import Row, in_chunks, path_id

READ_ROWS = 20_000
# Room for cells beyond the columns, so that they are seen and not cut off.
SPARE_COLUMNS = 4

_ID = re.compile(r"[+-]?\d{1,19}", re.ASCII)


class Table(NamedTuple):
    """Some rows: their numbers, and for each column of the file its cells."""

    lines: Sequence[int]
    columns: list[list[str]]


class CsvFile:
    """A checked CSV. Relative paths are relative to the CSV's own folder, or address.

    Raises:
        InputError: naming the file, the row and the column.
    """

    def __init__(self, path: os.PathLike[str], limit: int = 0, shard: Shard = WHOLE) -> None:
        self._path = path
        self._absolute = absolute_in(os.path.dirname(os.path.abspath(path)) if isinstance(path, Path) else str(path))
        self._limit, self._shard = limit, shard
        self._layout = sniff(path)
        self._names = _field_names(path, self._layout)
        self._path_at = self._layout.columns.index(PATH)
        self._id_at = self._layout.columns.index(ID) if ID in self._layout.columns else None
        self.fields, self.total = self._scan()

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """The rows, `size` at a time."""
        yield from in_chunks(self._rows(), size)

    def _rows(self) -> Iterator[Row]:
        names = [field.name for field in self.fields]
        for table in self._tables():
            ids, paths = self._identify(table)
            taken = self._shard.takes(ids)
            values = [self._parsed(table, at, field) for at, field in zip(self._names, self.fields, strict=True)]
            cells = zip(*values, strict=True) if values else repeat(())
            for key, path, line, row in compress(zip(ids, paths, table.lines, cells, strict=False), taken):
                yield Row(key, path, line, dict(zip(names, row, strict=True)))

    def _identify(self, table: Table) -> tuple[list[int], list[str]]:
        """Ids, given or derived, and absolute paths."""
        paths = list(map(self._absolute, table.columns[self._path_at]))
        if self._id_at is None:
            return list(map(path_id, paths)), paths
        texts = table.columns[self._id_at]
        try:
            ids = list(map(int, texts))
        except ValueError:
            ids = []
        if not ids or not all(map(_ID.fullmatch, texts)) or min(ids) < -(2**63) or max(ids) >= 2**63:
            ids = [self._key(line, text) for line, text in zip(table.lines, texts, strict=True)]
        return ids, paths

    def _parsed(self, table: Table, at: int, field: Field) -> list[Any]:
        """One column's values."""
        cells = table.columns[at]
        if field.type is FieldType.TEXT:
            return cells
        parse, default = PARSERS[field.type], field.default
        try:
            return [parse(cell) if cell else default for cell in cells]
        except ValueError as error:
            for line, cell in zip(table.lines, cells, strict=True):
                with suppress(ValueError):
                    parse(cell or "0")
                    continue
                raise InputError(f"{self._path}, row {line}: the file was changed during the run") from error
            raise

    def _tables(self) -> Iterator[Table]:
        """The rows below the header that hold anything, at most `limit` of them."""
        width = len(self._layout.columns)
        line, left = 1, self._limit or sys.maxsize
        for columns in self._pandas_chunks():
            rows = len(columns[0])
            lines: Sequence[int] = range(line, line + rows)
            line += rows
            # Only where each column has an empty cell can there be a row of nothing else.
            blank = all("" in column for column in columns)
            if blank or lines[0] <= self._layout.row or rows > left:
                kept = [any(cells) for cells in zip(*columns, strict=True)] if blank else [True] * rows
                kept = [keep and number > self._layout.row for keep, number in zip(kept, lines, strict=True)]
                lines = list(islice(compress(lines, kept), left))
                columns = [list(islice(compress(column, kept), left)) for column in columns]
            if any(map(any, columns[width:])):
                self._refuse_malformed()
            if lines:
                yield Table(lines, columns[:width])
            left -= len(lines)
            if not left:
                return

    def _pandas_chunks(self) -> Iterator[list[list[str]]]:
        """The columns of the whole file as text, header and empty rows included, so that they can be counted."""
        import pandas as pd

        names = [*self._layout.columns, *(f"spare {number}" for number in range(SPARE_COLUMNS))]
        try:
            reader = pd.read_csv(
                self._path, chunksize=READ_ROWS, header=None, names=names, index_col=False,
                dtype=object, keep_default_na=False, na_filter=False, skip_blank_lines=False, skipinitialspace=True,
                encoding=self._layout.encoding, sep=self._layout.separator,
            )  # fmt: skip
            for chunk in reader:
                yield [chunk[name].tolist() for name in names]
        except UnicodeError as error:
            raise InputError(explain_encoding(self._path, self._layout)) from error
        except (pd.errors.ParserError, OSError) as error:
            self._refuse_malformed()
            raise InputError(f"{self._path} cannot be read: {' '.join(str(error).split())}") from error

    def _refuse_malformed(self) -> None:
        """Raises for the first row that is malformed. The standard library's reader knows the row; pandas a line."""
        width = len(self._layout.columns)
        for line, cells in records(self._path, self._layout.encoding, self._layout.separator, "replace"):
            if len(cells) > width and any(cells[width:]):  # only empty ones are a spreadsheet's trailing separators
                raise InputError(f"{self._path}, row {line}: {len(cells)} cells for {width} columns")

    def _scan(self) -> tuple[tuple[Field, ...], int]:
        """Types and gaps of the columns, and the number of rows in this shard; refuses ids and paths that repeat."""
        guesses = {at: TypeGuess() for at in self._names}
        keys, lines = array("q"), array("I")
        total = 0
        for table in self._tables():
            ids, paths = self._identify(table)
            total += int(self._shard.takes(ids).sum())
            if self._id_at is None and "" in paths:
                # Rows without a path are rejected one by one later: they are no duplicates of each other.
                ids = [key if path else -line for key, path, line in zip(ids, paths, table.lines, strict=True)]
            keys.extend(ids)
            lines.extend(table.lines)
            for at, guess in guesses.items():
                guess.look_at(table.columns[at])
        if not keys:
            raise InputError(f"{self._path} has a header but no rows")
        self._refuse_duplicates(np.frombuffer(keys, np.int64), lines)
        fields = (Field(name, guesses[at].type_for(name), guesses[at].has_gaps) for at, name in self._names.items())
        return tuple(fields), total

    def _key(self, line: int, text: str) -> int:
        """A given id."""
        if _ID.fullmatch(text.strip()) and -(2**63) <= int(text) < 2**63:
            return int(text)
        raise InputError(
            f"{self._path}, row {line}, column 'id': '{shown(text)}' is not a whole number of 64 bits; "
            "rename the column and ids are derived from the paths"
        )

    def _refuse_duplicates(self, keys: np.ndarray, lines: array[int]) -> None:
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        repeats = np.flatnonzero(ordered[1:] == ordered[:-1])
        if not repeats.size:
            return
        at = repeats[np.argmin(order[repeats + 1])]  # the first one a reader of the file meets
        column, what = (PATH, "path") if self._id_at is None else (ID, f"id {ordered[at]}")
        more = f" ({repeats.size} repeats in all)" if repeats.size > 1 else ""
        rows = f"{lines[order[at]]} and {lines[order[at + 1]]}"
        raise InputError(f"{self._path}, rows {rows}, column '{column}': the same {what} twice{more}")


def _field_names(path: os.PathLike[str], layout: Layout) -> dict[int, str]:
    """Position → field, for all columns but id and path."""
    names: dict[int, str] = {}
    for at, column in enumerate(layout.columns):
        where = f"{path}, row {layout.row}"
        if column in layout.columns[:at]:
            raise InputError(f"{where}: there are two columns '{shown(column)}'")
        if column in (ID, PATH):
            continue
        if not column:
            raise InputError(f"{where}: column {at + 1} has no name")
        try:
            name = field_name(column)
        except InputError as error:
            raise InputError(f"{where}: {shown(str(error), 200)}") from None
        if name in names.values():
            raise InputError(f"{where}: two columns become the field '{name}'; rename '{shown(column)}'")
        names[at] = name
    return names
