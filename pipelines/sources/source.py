"""What is to be indexed: a CSV of paths or a folder, read in chunks, checked whole before any work is done."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..errors import InputError
from ..milvus.schema import Field, FieldType

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    | {".avif", ".heic", ".heif", ".jp2", ".ppm", ".pgm", ".pbm"}
)


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """One picture to index. `path` is absolute; `line` is the row of the spreadsheet, the header being row 1."""

    id: int
    path: str
    line: int
    fields: dict[str, Any]


class Source(Protocol):
    """A checked source of rows."""

    fields: tuple[Field, ...]
    total: int

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """The rows, `size` at a time."""


def open_source(path: str | os.PathLike[str], limit: int = 0) -> Source:
    """Opens and checks a CSV or a folder.

    Args:
        limit: only the first so many rows; 0 takes all.

    Raises:
        InputError: nothing there, or something in it that would stop the run later.
    """
    location = Path(os.path.expanduser(path))
    if os.path.isdir(location):
        return Folder(location, limit)
    if not os.path.exists(location):
        raise InputError(f"there is no file or folder {location}")
    if not os.path.isfile(location):
        raise InputError(f"{location} is not a regular file, and a CSV is read twice: save it as a file first")
    if location.suffix.lower() in PICTURE_SUFFIXES:
        raise InputError(f"{location} is a picture: give a CSV of paths, or the folder that holds it")
    from .csv_source import CsvFile

    return CsvFile(location, limit)


def path_id(path: str) -> int:
    """A stable 63-bit key for a path: the same file gets the same row in every run."""
    digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def in_chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last one shorter."""
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk


class Folder:
    """All pictures below a folder, folder by folder, sorted by name. The label is the name of the folder."""

    def __init__(self, root: Path, limit: int = 0) -> None:
        self._root = root.resolve()
        self._limit = limit
        self.fields: tuple[Field, ...] = (Field("label", FieldType.TEXT),)
        self.total = sum(1 for _ in self._rows())
        if not self.total:
            raise InputError(f"there is no picture in {root} (looked for {' '.join(sorted(PICTURE_SUFFIXES))})")

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """The rows, `size` at a time."""
        yield from in_chunks(self._rows(), size)

    def _rows(self) -> Iterator[Row]:
        count = 0
        for folder, subfolders, files in os.walk(self._root):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            label = "" if Path(folder) == self._root else os.path.basename(folder)
            for name in sorted(files):
                if os.path.splitext(name)[1].lower() not in PICTURE_SUFFIXES or name.startswith("."):
                    continue
                count += 1
                path = os.path.join(folder, name)
                yield Row(path_id(path), path, count, {"label": label})
                if count == self._limit:
                    return
