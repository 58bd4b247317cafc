"""A CSV of images with the column `path`, often `id` and `label`, and any others. pandas reads it in chunks, twice.

The first pass finds each column's type and everything that would stop the run later; the second yields the rows.
A million rows need the memory of one chunk plus 8 bytes a row, for the ids.

The standard library's reader finds the header, and the row at which pandas gave up.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from itertools import compress, repeat
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..fields import ID, PATH, Field, FieldType, field_key
from .csv_text import PARSERS, Layout, TypeGuess, refuse_first_mistake, shown
from .source import ID_RANGE, WHOLE, Findings, Row, Shard, absolute_in, in_chunks, path_id

if TYPE_CHECKING:
    from pandas import DataFrame, Series

READ_ROWS = 20_000
# Room for cells beyond the columns, which pandas would cut off unseen. Numbers, so that no column has their names.
SPARE_COLUMNS = range(4)

_ID = re.compile(r"\s*[+-]?[0-9]{1,19}\s*")
_INDEX = re.compile(r"(Unnamed: 0)?")  # the header of pandas' index, as written and as read and written again


class CsvSource:
    """A checked CSV.

    Args:
        base: the folder or the URL from which relative paths start.
        limit: yield only the first rows, at most this many. The columns' types are those of all rows.

    Raises:
        InputError: the CSV has a mistake; the message names the file, the row and the column.
    """

    is_folder = False
    fills: tuple[str, ...] = ()

    def __init__(self, path: os.PathLike[str], layout: Layout, base: str, limit: int = 0, shard: Shard = WHOLE) -> None:
        self._path = path
        self._layout = layout
        self._absolute = absolute_in(base)
        self._limit, self._shard = limit or sys.maxsize, shard
        self._columns = _columns(path, layout)
        self._guesses = {column: TypeGuess() for column in self._columns}
        self.findings = Findings()
        if layout.path_column != PATH:
            self.findings.notes.append(f"the column '{shown(layout.path_column)}' holds the paths")
        self.fields, self.total = self._scan()

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """The rows of this shard, `size` at a time."""
        return in_chunks(self._rows(), size)

    def _rows(self) -> Iterator[Row]:
        keys = [field.key for field in self.fields]
        for frame in self._first_rows():
            ids, paths = self._identify(frame)
            values = [self._parse(frame[field.name], field) for field in self.fields]
            cells = zip(*values, strict=True) if values else repeat(())
            rows = zip(ids, paths, frame.index.tolist(), cells, strict=False)
            for key, path, line, row in compress(rows, self._shard.takes(ids)):
                yield Row(key, path, line, dict(zip(keys, row, strict=True)))

    def _identify(self, frame: DataFrame) -> tuple[list[int], list[str]]:
        """The rows' ids, given or derived, and their absolute paths."""
        paths = list(map(self._absolute, frame[PATH].tolist()))
        if ID not in frame:
            return list(map(path_id, paths)), paths
        texts = frame[ID].tolist()
        if all(map(_ID.fullmatch, texts)):
            ids = list(map(int, texts))
            if min(ids) in ID_RANGE and max(ids) in ID_RANGE:
                return ids, paths
        wrong = [not (_ID.fullmatch(text) and int(text) in ID_RANGE) for text in texts].index(True)
        raise InputError(
            f"{self._path}, row {frame.index[wrong]}, column 'id': '{shown(texts[wrong])}' is not a whole number of "
            "64 bits; rename the column and ids are derived from the paths"
        )

    def _parse(self, cells: Series, field: Field) -> list[Any]:
        """One column's values."""
        if field.type is FieldType.TEXT:
            return list(cells.tolist())
        parse, missing = PARSERS[field.type], self._guesses[str(cells.name)].missing
        values: list[Any] = []
        try:
            values.extend(None if cell in missing else parse(cell) for cell in cells.tolist())
        except ValueError as error:
            line = cells.index[len(values)]
            raise InputError(f"{self._path}, row {line}: the file was changed during the run; run again") from error
        return values

    def _first_rows(self) -> Iterator[DataFrame]:
        """The frames up to the limit."""
        left = self._limit
        for frame in self._frames():
            yield frame[:left]
            left -= len(frame)
            if left <= 0:
                return

    def _frames(self) -> Iterator[DataFrame]:
        """The rows below the header that are not empty, as text, by row number."""
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
        """The file as text, READ_ROWS at a time. Header and empty rows are in it, because row numbers count them."""
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
        """The fields, and the number of rows in this shard. Refuses ids and paths that repeat up to the limit."""
        import pandas as pd

        seen, total, left = [], 0, self._limit
        for frame in self._frames():
            for column, guess in self._guesses.items():
                guess.look_at(frame[column].tolist())
            frame = frame[:left]
            if frame.empty:
                continue
            left -= len(frame)
            ids, paths = self._identify(frame)
            total += int(self._shard.takes(ids).sum())
            if ID not in frame and "" in paths:
                # Rows without a path are rejected one by one later: they are no duplicates of each other.
                ids = [key if path else -line for key, path, line in zip(ids, paths, frame.index, strict=True)]
            seen.append(pd.Series(ids, frame.index))
        if not seen:
            raise InputError(f"{self._path} has a header but no rows")
        self._refuse_duplicates(pd.concat(seen))
        return tuple(self._guesses[column].field(column) for column in self._columns), total

    def _refuse_duplicates(self, ids: Series) -> None:
        repeats = ids[ids.duplicated()]
        if not repeats.empty:
            key, more = repeats.iloc[0], f" ({len(repeats)} repeats in all)" if len(repeats) > 1 else ""
            first, second = ids.index[ids == key][:2]
            column, thing = (ID, f"id {key}") if ID in self._layout.columns else (self._layout.path_column, "path")
            where = f"{self._path}, rows {first} and {second}, column '{column}'"
            raise InputError(f"{where}: the same {thing} twice{more}")


def _columns(path: os.PathLike[str], layout: Layout) -> list[str]:
    """The columns without id and path, and without the index that pandas writes as the first column."""
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
