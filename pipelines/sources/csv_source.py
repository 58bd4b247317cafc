"""A CSV of pictures: `id,path,label` and any further columns. pandas reads it in chunks, twice.

The first pass checks everything that would stop the run later and finds each column's type; the second yields the
rows. A million rows need the memory of one chunk and 12 bytes a row, for the ids and their row numbers.

The standard library's reader has the header, and the search for the row where pandas gave up.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..milvus.schema import ID, PATH, Field, field_name
from .cell_types import PARSERS, TypeGuess
from .csv_text import Layout, explain_encoding, records, shown, sniff
from .source import Row, in_chunks, path_id

SCAN_ROWS = 20_000
READ_ROWS = 5_000
# Room for cells beyond the columns, so that they are seen and not cut off.
SPARE_COLUMNS = 4

_ID = re.compile(r"[+-]?\d{1,19}", re.ASCII)


class CsvFile:
    """A checked CSV. Relative paths are relative to the CSV's own folder.

    Raises:
        InputError: naming the file, the row and the column.
    """

    def __init__(self, path: Path, limit: int = 0) -> None:
        self._path = path
        self._base = os.path.abspath(path.parent)
        self._limit = limit
        self._layout = sniff(path)
        self._names = _field_names(path, self._layout)
        self._path_at = self._layout.columns.index(PATH)
        self._id_at = self._layout.columns.index(ID) if ID in self._layout.columns else None
        self.fields, self.total = self._scan()

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """The rows, `size` at a time."""
        parsers = [(at, field, PARSERS[field.type]) for at, field in zip(self._names, self.fields, strict=True)]
        for table in in_chunks(self._table(), size):
            rows = []
            for line, cells in table:
                path = self._absolute(cells[self._path_at])
                try:
                    key = path_id(path) if self._id_at is None else int(cells[self._id_at])
                    values = {
                        field.name: parse(cells[at]) if cells[at] else field.default for at, field, parse in parsers
                    }
                except ValueError:
                    raise InputError(f"{self._path}, row {line}: the file was changed during the run") from None
                rows.append(Row(key, path, line, values))
            yield rows

    def _absolute(self, path: str) -> str:
        return os.path.normpath(os.path.join(self._base, os.path.expanduser(path))) if path else ""

    def _table(self) -> Iterator[tuple[int, list[str]]]:
        """Each row below the header that holds anything, at most `limit`: its number and a cell for each column."""
        width = len(self._layout.columns)
        count, line = 0, 0
        for chunk in self._pandas_chunks():
            for cells in chunk:
                line += 1
                if line <= self._layout.row or not any(cells):
                    continue
                if any(cells[width:]):
                    self._refuse_malformed()
                yield line, cells[:width]
                count += 1
                if count == self._limit:
                    return

    def _pandas_chunks(self) -> Iterator[list[list[str]]]:
        """All records of the file as text, header and empty rows included, so that they can be counted."""
        import pandas as pd

        spare = [f"spare {number}" for number in range(SPARE_COLUMNS)]
        try:
            reader = pd.read_csv(
                self._path, chunksize=READ_ROWS, header=None, names=[*self._layout.columns, *spare], index_col=False,
                dtype=str, keep_default_na=False, na_filter=False, skip_blank_lines=False, skipinitialspace=True,
                encoding=self._layout.encoding, sep=self._layout.separator,
            )  # fmt: skip
            for chunk in reader:
                yield chunk.to_numpy().tolist()
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
        guesses = {at: TypeGuess() for at in self._names}
        keys, lines = array("q"), array("I")
        for table in in_chunks(self._table(), SCAN_ROWS):
            for line, cells in table:
                keys.append(self._key(line, cells))
                lines.append(line)
            columns = list(zip(*(cells for _, cells in table), strict=True))
            for at, guess in guesses.items():
                guess.look_at(set(columns[at]))
        if not keys:
            raise InputError(f"{self._path} has a header but no rows")
        self._refuse_duplicates(np.frombuffer(keys, np.int64), lines)
        fields = (Field(name, guesses[at].type_for(name), guesses[at].has_gaps) for at, name in self._names.items())
        return tuple(fields), len(keys)

    def _key(self, line: int, cells: list[str]) -> int:
        """The row's id, given or derived."""
        if self._id_at is None:
            path = cells[self._path_at]
            # Rows without a path are rejected one by one later: they are no duplicates of each other.
            return path_id(self._absolute(path)) if path else -line
        text = cells[self._id_at]
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


def _field_names(path: Path, layout: Layout) -> dict[int, str]:
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
