"""A CSV as text: its encoding and separator, its rows, its types, and where in it something is wrong."""

from __future__ import annotations

import codecs
import csv
import os
import re
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError, UnreadableFile
from ..fetch.read import download_file
from ..fields import PATH, FieldType

# A leading zero or plus marks a code or a telephone number. More digits than the type holds stay text, too.
_PATTERNS = {
    FieldType.BOOL: re.compile(r"true|false", re.IGNORECASE),
    FieldType.INT: re.compile(r"-?(0|[1-9]\d{0,17})", re.ASCII),
    FieldType.FLOAT: re.compile(r"-?((0|[1-9]\d{0,14})(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?", re.ASCII),
}
PARSERS: dict[FieldType, Callable[[str], Any]] = {
    FieldType.BOOL: lambda text: text.lower() == "true",
    FieldType.INT: int,
    FieldType.FLOAT: float,
}
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")  # as the error handler surrogateescape writes bytes that are not text


class Layout(NamedTuple):
    """How a CSV is written. `row` is the header's row number: 1, unless empty rows come first."""

    encoding: str
    separator: str
    columns: list[str]
    row: int


class RemoteCsv(os.PathLike[str]):
    """A CSV at a URL. It opens as a temporary file, because a CSV is read twice; messages name the URL.

    The temporary file is removed together with this object.

    Raises:
        InputError: the CSV cannot be downloaded.
    """

    def __init__(self, url: str, allow_private: bool = False) -> None:
        self._url = url
        descriptor, self._file = tempfile.mkstemp(suffix=".csv")
        weakref.finalize(self, Path(self._file).unlink, missing_ok=True)
        try:
            with open(descriptor, "wb") as file:
                download_file(url, file, allow_private)
        except UnreadableFile as error:
            raise InputError(f"{url} cannot be downloaded: {error}") from error

    def __fspath__(self) -> str:
        return self._file

    def __str__(self) -> str:
        return self._url


class TypeGuess:
    """Narrows a column's type as its cells are seen."""

    def __init__(self) -> None:
        self.has_gaps = False
        self._types = [*_PATTERNS]
        self._seen = False

    def look_at(self, cells: Iterable[str]) -> None:
        """Cells as text; '' is an empty cell."""
        distinct = set(cells)
        self.has_gaps |= "" in distinct
        distinct.discard("")
        if distinct:
            self._seen = True
            self._types = [one for one in self._types if all(map(_PATTERNS[one].fullmatch, distinct))]

    def type_for(self, name: str) -> FieldType:
        """The narrowest type that all cells fit. Text, if none does or all cells are empty.

        Labels are names, even if they look like numbers.
        """
        return self._types[0] if self._types and self._seen and name != "label" else FieldType.TEXT


def sniff(path: os.PathLike[str]) -> Layout:
    """The layout of a CSV: encoding by the byte-order mark (else UTF-8), separator by which one finds column `path`.

    Raises:
        InputError: the file is no CSV with a column `path`.
    """
    with _open(path) as file:
        start = file.read(1 << 16)
    encoding = "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(start)
    if not text.strip():
        raise InputError(f"{path} is empty")
    if "\0" in text:
        raise InputError(f"{path} is not a CSV (it holds binary data)")
    seen: list[str] = []
    for separator in ",;\t":
        with suppress(InputError):  # this separator makes no header
            row, cells = next(records(path, encoding, separator, "replace"), (1, []))
            columns = [cell.strip() for cell in cells]
            if PATH in columns:
                break
            seen = seen or columns
    else:
        names = shown(", ".join(seen), 200)
        raise InputError(f"{path}, row 1: there is no column 'path' (the columns are: {names}); rename or add it")
    while not columns[-1]:  # a spreadsheet's trailing separators
        columns.pop()
    layout = Layout(encoding, separator, columns, row)
    if "\ufffd" in "".join(columns):
        refuse_first_mistake(path, layout)
    return layout


def records(
    path: os.PathLike[str], encoding: str, separator: str, errors: str = "strict"
) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, with their numbers as a spreadsheet shows them (empty rows count).

    Raises:
        InputError: the file cannot be read, or a quote is never closed.
    """
    number = 0
    with _open(path, encoding, errors) as file:
        # Strict, because a quote that is never closed would otherwise make one cell of the rest of the file.
        reader = csv.reader(file, delimiter=separator, skipinitialspace=True, strict=True)
        try:
            for number, cells in enumerate(reader, 1):
                if any(cells):
                    yield number, cells
        except csv.Error as error:
            raise InputError(f"{path}, row {number + 1}: {error} (is there a quote too many or too few?)") from error


def _open(path: os.PathLike[str], encoding: str = "", errors: str = "") -> Any:
    """The file as text in an encoding; without one, as bytes."""
    try:
        return open(path, encoding=encoding, errors=errors, newline="") if encoding else open(path, "rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def refuse_first_mistake(path: os.PathLike[str], layout: Layout) -> None:
    """Looks for the row that stopped another reader: pandas only names a line, a decoder an offset in its buffer.

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
