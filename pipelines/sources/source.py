"""What is to be indexed: a CSV of paths or a folder, read in chunks, checked whole before any work is done."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from ..errors import InputError
from ..fetch.read import is_remote, local_path
from ..fields import Field
from .shard import WHOLE, Shard

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    | {".avif", ".heic", ".heif", ".jp2", ".ppm", ".pgm", ".pbm"}
)
# What os.fsencode looks up for each call.
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()

T = TypeVar("T")


class Row(NamedTuple):
    """One image to index. `path` is absolute or a URL; `line` the row of the spreadsheet, the header being row 1."""

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


def open_source(
    source: str | os.PathLike[str], limit: int = 0, shard: Shard = WHOLE, allow_private: bool = False
) -> Source:
    """Opens and checks a CSV or a folder, here, on the web (a CSV) or in an object store.

    Args:
        limit: only the first so many rows; 0 takes all.
        shard: only this part of them. All that is checked, and the types of the columns, are those of the whole.
        allow_private: a CSV may be fetched from a private address.

    Raises:
        InputError: nothing there, or something in it that would stop the run later.
    """
    from .csv_source import CsvFile
    from .folder import BucketSource, Folder

    name = local_path(os.fspath(source))
    if is_remote(name):
        from .remote_csv import RemoteCsv, is_store_folder

        _refuse_image(name)
        if is_store_folder(name):
            return BucketSource(name, limit, shard)
        return CsvFile(RemoteCsv(name, allow_private), limit, shard)
    location = Path(os.path.expanduser(name))
    if os.path.isdir(location):
        return Folder(location, limit, shard)
    if not os.path.exists(location):
        raise InputError(f"there is no file or folder {location}")
    if not os.path.isfile(location):
        raise InputError(f"{location} is not a regular file, and a CSV is read twice: save it as a file first")
    _refuse_image(name)
    return CsvFile(location, limit, shard)


def _refuse_image(name: str) -> None:
    if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
        raise InputError(f"{name} is an image: give a CSV of paths, or the folder that holds it")


def path_id(path: str) -> int:
    """A stable 63-bit key for a path: the same file gets the same row in every run."""
    digest = hashlib.blake2b(path.encode(_ENCODING, _ERRORS), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def in_chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last one shorter."""
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk
