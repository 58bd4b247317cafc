"""Sources of images to index: a CSV of paths, a folder, or a folder in an object store.

A source is checked as a whole before any work is done, then read in chunks.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import InputError, UnreadableFile
from ..fetch.read import is_remote, is_store_folder, local_path
from .csv_source import CsvSource
from .csv_text import RemoteCsv
from .folder import IMAGE_SUFFIXES, BucketSource, FolderSource
from .source import WHOLE, Shard, Source


def open_source(
    source: str | os.PathLike[str], limit: int = 0, shard: Shard = WHOLE, allow_private: bool = False
) -> Source:
    """Opens and checks a CSV or a folder: local, on the web (a CSV only), or in an object store.

    Args:
        limit: take only the first rows, this many; 0 takes all.
        shard: take only this part of them. Checks and column types always cover the whole source.
        allow_private: also fetch a CSV from a private address.

    Raises:
        InputError: there is no such source, or it holds something that would stop the run later.
    """
    name = local_path(os.fspath(source))
    if is_remote(name):
        return _open_remote(name, limit, shard, allow_private)
    return _open_local(Path(os.path.expanduser(name)), limit, shard)


def _open_local(location: Path, limit: int, shard: Shard) -> Source:
    if os.path.isdir(location):
        return FolderSource(location, limit, shard)
    if not os.path.exists(location):
        raise InputError(f"there is no file or folder {location}")
    if not os.path.isfile(location):
        raise InputError(f"{location} is not a regular file, and a CSV is read twice: save it as a file first")
    _refuse_image(os.fspath(location))
    return CsvSource(location, limit, shard)


def _open_remote(url: str, limit: int, shard: Shard, allow_private: bool) -> Source:
    _refuse_image(url)
    try:
        if is_store_folder(url):
            return BucketSource(url, limit, shard)
    except UnreadableFile as error:
        raise InputError(f"{url}: {error}") from error
    return CsvSource(RemoteCsv(url, allow_private), limit, shard)


def _refuse_image(name: str) -> None:
    if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
        raise InputError(f"{name} is an image: give a CSV of paths, or the folder that holds it")
