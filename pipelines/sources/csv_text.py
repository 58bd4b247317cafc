"""A CSV as text: its encoding and separator, its rows, and where in it something is wrong."""

from __future__ import annotations

import codecs
import csv
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from ..errors import InputError
from ..fields import PATH


class Layout(NamedTuple):
    """How a CSV is written."""

    encoding: str
    separator: str
    columns: list[str]
    row: int  # where the header is: 1, if no empty rows come first


def sniff(path: os.PathLike[str]) -> Layout:
    """Encoding by the byte-order mark (else UTF-8), separator by which one makes a `path` column."""
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
        with suppress(InputError):  # not a header in this reading
            row, cells = next(records(path, encoding, separator, "replace"), (1, []))
            columns = [cell.strip() for cell in cells]
            if PATH in columns:
                break
            seen = seen or columns
    else:
        raise InputError(f"{path}, row 1: there is no column 'path' (the columns are: {shown(', '.join(seen), 200)})")
    while columns[-1] == "":  # a spreadsheet's trailing separators
        columns.pop()
    layout = Layout(encoding, separator, columns, row)
    if "\ufffd" in "".join(columns):
        raise InputError(explain_encoding(path, layout))
    return layout


def records(
    path: os.PathLike[str], encoding: str, separator: str, errors: str = "strict"
) -> Iterator[tuple[int, list[str]]]:
    """All rows that hold anything, with their numbers as a spreadsheet shows them (empty rows count)."""
    number = 0
    with _open(path, encoding, errors) as file:
        # Strict, so that a quote which is never closed is an error here and not a cell that swallows the file.
        reader = csv.reader(file, delimiter=separator, skipinitialspace=True, strict=True)
        try:
            for number, cells in enumerate(reader, 1):
                if any(cells):
                    yield number, cells
        except csv.Error as error:
            raise InputError(f"{path}, row {number + 1}: {error} (is there a quote too many or too few?)") from error


def _open(path: os.PathLike[str], *how: str) -> Any:
    """The file, as text where an encoding and its error handling are given, else as bytes."""
    try:
        return open(path, encoding=how[0], errors=how[1], newline="") if how else open(path, "rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def explain_encoding(path: os.PathLike[str], layout: Layout) -> str:
    """Says which cell holds the first byte that is no text; a decoder only knows a place in its buffer."""
    advice = "save the file as UTF-8 and run again"
    with suppress(UnicodeError, InputError):
        for line, cells in records(path, layout.encoding, layout.separator, "surrogateescape"):
            for column, cell in zip(layout.columns, cells, strict=False):
                try:
                    cell.encode()
                except UnicodeEncodeError as first:
                    byte = ord(cell[first.start]) & 0xFF
                    return f"{path}, row {line}, column '{column}': byte 0x{byte:02x} is not UTF-8; {advice}"
    return f"{path} is neither UTF-8 nor whole UTF-16; {advice}"


def shown(text: str, length: int = 60) -> str:
    """A piece of the file for a message of one line."""
    return " ".join(text.split())[:length]
