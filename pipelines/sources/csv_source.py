"""A CSV of images with the column `path`, often `id` and `label`, and any others. pandas reads it in chunks, twice.

The first pass finds each column's type and every mistake that would stop the run later. The second yields the rows.
A million rows need the memory of one chunk plus 8 bytes a row, for the ids.

The standard library's `csv` module finds the header, and the row at which pandas failed.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from itertools import compress, repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..fields import ID, KEY, PATH, Field, FieldType, field_key, read_id, row_id
from .column_types import NO_TYPES, ColumnType, TypeGuess, refuse_unknown
from .csv_text import Layout, refuse_first_mistake, shown
from .source import WHOLE, Findings, Row, Shard, absolute_in, in_chunks, path_id

if TYPE_CHECKING:
    from pandas import DataFrame, Series

READ_ROWS = 20_000
# Extra columns for surplus cells, which pandas would silently drop. No real column has an int as its name.
SPARE_COLUMNS = range(4)

_NUMBER = re.compile(r"\s*(?:0|-?[1-9][0-9]{0,17})\s*")  # what `read_id` reads as a number, up to 18 digits
_INDEX = re.compile(r"(Unnamed: 0)?")  # pandas' index: written without a name, named once read and written again


class CsvSource:
    """A checked CSV.

    Args:
        base: the folder or the URL from which relative paths start.
        limit: yield at most this many rows, the first ones. All rows determine the columns' types.
        ids_from_path: derive the ids from the paths, as for a CSV without a column `id`.
        types: the requested types, by column.

    Attributes:
        given_ids: int64[n], the ids of the rows up to the limit; empty if they are derived from the paths.

    Raises:
        InputError: the CSV has a mistake; the message names the file, the row and the column.
    """

    is_folder = False
    fills: tuple[str, ...] = ()

    def __init__(
        self, path: os.PathLike[str], layout: Layout, base: str, limit: int = 0, shard: Shard = WHOLE,
        ids_from_path: bool = False, types: Mapping[str, ColumnType] = NO_TYPES,
    ) -> None:  # fmt: skip
        self._path = path
        self._layout = layout
        self._gives_ids = ID in layout.columns and not ids_from_path
        self.given_ids = np.empty(0, np.int64)
        self._absolute = absolute_in(base)
        self._limit, self._shard = limit or sys.maxsize, shard
        self._columns = _columns(path, layout)
        refuse_unknown(types, self._columns)
        self._guesses = {column: TypeGuess(types.get(column)) for column in self._columns}
        self.findings = Findings()
        if layout.path_column != PATH:
            self.findings.notes.append(f"the column '{shown(layout.path_column)}' holds the paths")
        if ID in layout.columns and ids_from_path:
            self.findings.notes.append("the column 'id' is left out: the ids are derived from the paths")
        self.fields, self.total = self._scan()

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """The rows of this shard, `size` at a time."""
        return in_chunks(self._rows(), size)

    def _rows(self) -> Iterator[Row]:
        keys = [field.key for field in self.fields]
        for frame in self._first_rows():
            ids, paths, texts = self._identify(frame)
            values = [self._parse(frame[field.name], field) for field in self.fields]
            names = [KEY, *keys] if texts else keys
            columns = [texts, *values] if texts else values
            cells = zip(*columns, strict=True) if columns else repeat(())
            rows = zip(ids, paths, frame.index.tolist(), cells, strict=False)
            for key, path, line, row in compress(rows, self._shard.takes(ids)):
                yield Row(key, path, line, dict(zip(names, row, strict=True)))

    def _identify(self, frame: DataFrame) -> tuple[list[int], list[str], list[str]]:
        """The rows' ids, given or derived; their absolute paths; their text ids, '' for a number, or [] if none is."""
        paths = list(map(self._absolute, frame[PATH].tolist()))
        if not self._gives_ids:
            return list(map(path_id, paths)), paths, []
        cells = frame[ID].tolist()
        if all(map(_NUMBER.fullmatch, cells)):
            return list(map(int, cells)), paths, []
        ids = list(map(read_id, cells))
        if "" in ids:
            raise InputError(f"{self._path}, row {frame.index[ids.index('')]}, column 'id': the id is missing")
        return list(map(row_id, ids)), paths, [one if isinstance(one, str) else "" for one in ids]

    def _parse(self, cells: Series, field: Field) -> list[Any]:
        """One column's values."""
        if field.type is FieldType.TEXT:
            return list(cells.tolist())
        guess = self._guesses[str(cells.name)]
        parse, missing = guess.type._replace(type=field.type).parser, guess.missing
        values: list[Any] = []
        try:
            values.extend(None if cell in missing else parse(cell) for cell in cells.tolist())
        except ValueError as error:
            line = cells.index[len(values)]
            raise InputError(f"{self._path}, row {line}: the file was changed during the run; run again") from error
        return values

    def _first_rows(self) -> Iterator[DataFrame]:
        """The frames, cut off at the limit."""
        left = self._limit
        for frame in self._frames():
            yield frame[:left]
            left -= len(frame)
            if left <= 0:
                return

    def _frames(self) -> Iterator[DataFrame]:
        """The rows below the header as text, without empty ones, indexed by row number."""
        width = len(self._layout.columns)
        for frame in self._whole_file():
            below = frame.loc[self._layout.row + 1 :]
            pathless = below[below[PATH] == ""]
            empty = pathless.index[(pathless == "").all(axis=1)]
            frame = below.drop(empty) if len(empty) else below
            if any(any(frame[spare].tolist()) for spare in SPARE_COLUMNS):
                refuse_first_mistake(self._path, self._layout)
            if len(frame):
                yield frame.iloc[:, :width]

    def _whole_file(self) -> Iterator[DataFrame]:
        """The file as text, READ_ROWS at a time, with the header and empty rows, because row numbers count them."""
        import pandas as pd

        try:
            reader = pd.read_csv(
                self._path, chunksize=READ_ROWS, header=None, names=[*self._layout.columns, *SPARE_COLUMNS],
                index_col=False, dtype=object, keep_default_na=False, na_filter=False, skip_blank_lines=False,
                skipinitialspace=True, encoding=self._layout.encoding, sep=self._layout.separator,
            )  # fmt: skip
            with reader:
                for frame in reader:
                    frame.index += 1
                    yield frame
        except (UnicodeError, pd.errors.ParserError, OSError) as error:
            refuse_first_mistake(self._path, self._layout)
            raise InputError(f"{self._path} cannot be read: {' '.join(str(error).split())}") from error

    def _scan(self) -> tuple[tuple[Field, ...], int]:
        """The fields, and the number of rows in this shard. Refuses ids and paths that occur twice up to the limit."""
        import pandas as pd

        seen, total, left = [], 0, self._limit
        for frame in self._frames():
            for column in self._columns:
                self._look_at(frame[column])
            frame = frame[:left]
            if frame.empty:
                continue
            left -= len(frame)
            ids, paths, _ = self._identify(frame)
            total += int(self._shard.takes(ids).sum())
            if not self._gives_ids and "" in paths:
                # Rows without a path are rejected one by one later. They must not count as duplicates of each other.
                ids = [key if path else -line for key, path, line in zip(ids, paths, frame.index, strict=True)]
            seen.append(pd.Series(ids, frame.index))
        if not seen:
            raise InputError(f"{self._path} has a header but no rows")
        ids_by_line = pd.concat(seen)
        self._refuse_duplicates(ids_by_line)
        if self._gives_ids:
            self.given_ids = ids_by_line.to_numpy(np.int64)
        self._name_undecided()
        self.findings.types = {column: guess.type for column, guess in self._guesses.items() if guess.requested}
        return tuple(self._guesses[column].field(column) for column in self._columns), total

    def _look_at(self, cells: Series) -> None:
        """Learn a column's type from its cells."""
        guess = self._guesses[str(cells.name)]
        if misfits := guess.look_at(cells.tolist()):
            line, cell = next((line, cell) for line, cell in cells.items() if cell in misfits)
            where = f"{self._path}, row {line}, column '{shown(str(cells.name))}'"
            raise InputError(f"{where}: '{shown(cell)}' is no {guess.requested}, which --types asks for")

    def _name_undecided(self) -> None:
        """Note columns of ambiguous dates: they stay text. If such a column was requested as dates, it is an error."""
        for column, guess in self._guesses.items():
            if not guess.is_undecided:
                continue
            name = shown(column)
            problem = f"column '{name}' holds dates that may have the day or the month first"
            option = f"--types {shlex.quote(f'{name}=date:dmy')} or date:mdy"
            if guess.requested:
                raise InputError(f"{self._path}: {problem}; say which by {option}")
            self.findings.undecided.add(column)
            self.findings.notes.append(f"{problem} and stays text; {option} makes dates of it")

    def _refuse_duplicates(self, ids: Series) -> None:
        repeats = ids[ids.duplicated()]
        if not repeats.empty:
            key, more = repeats.iloc[0], f" ({len(repeats)} repeats in all)" if len(repeats) > 1 else ""
            first, second = ids.index[ids == key][:2]
            column, thing = self._layout.path_column, "path"
            if self._gives_ids:
                cells = next(frame[ID] for frame in self._frames() if first in frame.index)
                column, thing = ID, f"id {shown(cells[first].strip())}"
            where = f"{self._path}, rows {first} and {second}, column '{column}'"
            raise InputError(f"{where}: the same {thing} twice{more}")


def _columns(path: os.PathLike[str], layout: Layout) -> list[str]:
    """The columns except id, path, and the index that pandas writes as the first column."""
    columns = []
    where = f"{path}, row {layout.row}" if layout.row else f"{path}"
    for number, column in enumerate(layout.columns, 1):
        if number == 1 and _INDEX.fullmatch(column):
            continue
        if not column:
            raise InputError(f"{where}: column {number} has no name; give it one")
        if column in layout.columns[: number - 1]:
            raise InputError(f"{where}: there are two columns '{shown(column)}'; rename one of them")
        if column in (ID, PATH):
            continue
        try:
            field_key(column, FieldType.DATE)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        columns.append(column)
    return columns
