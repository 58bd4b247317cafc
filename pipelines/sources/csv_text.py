"""A CSV as text: its encoding and separator, its rows, and the place of its first mistake."""

from __future__ import annotations

import codecs
import csv
import os
import re
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError, UnreadableFile
from ..fetch.read import download_file
from ..fields import PATH, PATH_COLUMNS, clean_name

_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?\n?', re.IGNORECASE)  # Excel's first line
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")  # how the error handler surrogateescape decodes invalid bytes


class Layout(NamedTuple):
    """How a CSV is written.

    columns: the header, with the column that holds the paths renamed to `path`.
    row: the header's row number: 1, unless empty rows or `sep=` come first; 0 without a header.
    path_column: the name of that column in the file.
    """

    encoding: str
    separator: str
    columns: list[str]
    row: int
    path_column: str = PATH


class TemporaryFile(os.PathLike[str]):
    """A temporary file that has another name in messages. It is removed with this object."""

    def __init__(self, name: str) -> None:
        self._name = name
        descriptor, self._file = tempfile.mkstemp(suffix=".csv")
        os.close(descriptor)
        weakref.finalize(self, Path(self._file).unlink, missing_ok=True)

    def __fspath__(self) -> str:
        return self._file

    def __str__(self) -> str:
        return self._name


class RemoteCsv(TemporaryFile):
    """A CSV at a URL, downloaded to a temporary file, because a CSV is read twice.

    Raises:
        InputError: the CSV cannot be downloaded.
    """

    def __init__(self, url: str, allow_private: bool = False) -> None:
        super().__init__(url)
        try:
            with open(self, "wb") as file:
                download_file(url, file, allow_private)
        except UnreadableFile as error:
            raise InputError(f"{url} cannot be downloaded: {error}") from error


def sniff(path: os.PathLike[str], path_column: str = "") -> Layout:
    """The layout of a CSV: its encoding, and the separator that makes a header with a column of paths.

    A byte-order mark tells the encoding. Without one it is UTF-16 if many bytes are zero, else UTF-8.

    Args:
        path_column: the column that holds the paths; '' looks for `path`, then for PATH_COLUMNS.

    Raises:
        InputError: the file is not a CSV with such a column, or has several.
    """
    with _open(path) as file:
        start = file.read(1 << 16)
    encoding = _encoding(start)
    text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(start)
    if not text.strip():
        raise InputError(f"{path} is empty")
    if "\0" in text:
        raise InputError(f"{path} is not a CSV (it holds binary data)")
    named = _SEPARATOR_LINE.match(text)
    headers = {}
    for separator in named[1] if named else ",;\t":
        with suppress(InputError):  # no header can be read with this separator
            rows = islice(records(path, encoding, separator, "replace"), 1 if named else 0, None)
            row, cells = next(rows, (1, [""]))
            headers[separator] = row, list(map(clean_name, cells))
    separator, found = find_path_column(path, {key: columns for key, (_, columns) in headers.items()}, path_column)
    row, columns = headers[separator]
    while not columns[-1]:  # a spreadsheet's trailing separators
        columns.pop()
    layout = Layout(encoding, separator, [PATH if column == found else column for column in columns], row, found)
    if "\ufffd" in "".join(columns):
        refuse_first_mistake(path, layout)
    return layout


def _encoding(start: bytes) -> str:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if start.count(0) * 8 > len(start):
        # Separators and most of a path are ASCII, and the second byte of ASCII in little-endian UTF-16 is zero.
        return "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
    return "utf-8-sig"


def find_path_column(path: object, headers: dict[str, list[str]], path_column: str) -> tuple[str, str]:
    """Return the first separator whose header has a column of paths, and that column's name.

    Args:
        path: named in messages.
        headers: separator → the columns of the header that it makes.

    Raises:
        InputError: no column can hold the paths, or several can.
    """
    for names in ((path_column,),) if path_column else ((PATH,), PATH_COLUMNS):
        for separator, columns in headers.items():
            found = list(dict.fromkeys(column for column in columns if column in names))
            if len(found) > 1:
                raise InputError(f"{path}: the paths may be in {' or '.join(found)}: name one with --path-column")
            if found:
                return separator, found[0]
    shown_names = shown(", ".join(next(iter(headers.values()), [])), 200)
    wanted = path_column or PATH
    raise InputError(
        f"{path}, row 1: there is no column '{wanted}' (the columns are: {shown_names}); "
        "rename or add it, or name another with --path-column"
    )


def records(
    path: os.PathLike[str], encoding: str, separator: str, errors: str = "strict"
) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, with their row numbers in a spreadsheet, which counts empty rows.

    Raises:
        InputError: the file cannot be read, or a quote is never closed.
    """
    number = 0
    with _open(path, encoding, errors) as file:
        # Strict: without it, a quote that is never closed would turn the rest of the file into one cell.
        reader = csv.reader(file, delimiter=separator, skipinitialspace=True, strict=True)
        try:
            for number, cells in enumerate(reader, 1):
                if any(cells):
                    yield number, cells
        except csv.Error as error:
            raise InputError(f"{path}, row {number + 1}: {error} (is there a quote too many or too few?)") from error


def _open(path: os.PathLike[str], encoding: str = "", errors: str = "") -> Any:
    """Open the file as text in an encoding; without one, as bytes."""
    try:
        return open(path, encoding=encoding, errors=errors, newline="") if encoding else open(path, "rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def refuse_first_mistake(path: os.PathLike[str], layout: Layout) -> None:
    """Find the row that another reader refused: pandas names only a line, a decoder only an offset in its buffer.

    Raises:
        InputError: for the first row that has too many cells or is not text.
    """
    advice, width = "save the file as UTF-8 and run again", len(layout.columns)
    try:
        for line, cells in records(path, layout.encoding, layout.separator, "surrogateescape"):
            if any(cells[width:]):  # empty cells there are a spreadsheet's trailing separators
                count = f"{len(cells)} cells for {width} columns"
                raise InputError(f"{path}, row {line}: {count}; quote a cell that holds the separator")
            for column, cell in zip(layout.columns, cells, strict=False):
                if escaped := _ESCAPED_BYTE.search(cell):
                    where = f"{path}, row {line}, column '{shown(column)}'"
                    raise InputError(f"{where}: byte 0x{ord(escaped[0]) & 0xFF:02x} is not UTF-8; {advice}")
    except UnicodeError as error:
        raise InputError(f"{path} is neither UTF-8 nor whole UTF-16; {advice}") from error


def shown(text: str, length: int = 60) -> str:
    """A piece of the file, shortened to fit a message of one line."""
    return " ".join(text.split())[:length]
