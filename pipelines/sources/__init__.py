"""Sources of images to index: a CSV of paths, a folder, or a folder in an object store.

A source is checked as a whole before any work is done, then read in chunks.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import InputError
from ..fetch.read import is_remote, is_web, local_path, open_store, store_errors
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
    location = Path(os.path.expanduser(name))
    if not is_remote(name) and os.path.isdir(location):
        return FolderSource(location, limit, shard)
    if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
        raise InputError(f"{name} is an image: give a CSV of paths, or the folder that holds it")
    if is_remote(name):
        return _open_remote(name, limit, shard, allow_private)
    if not os.path.exists(location):
        raise InputError(f"there is no file or folder {location}")
    if not os.path.isfile(location):
        raise InputError(f"{location} is not a regular file, and a CSV is read twice: save it as a file first")
    return CsvSource(location, limit, shard)


def _open_remote(url: str, limit: int, shard: Shard, allow_private: bool) -> Source:
    if not is_web(url):
        with store_errors(url):
            filesystem, name = open_store(url)
            is_folder = not filesystem.isfile(name)
        if is_folder:
            return BucketSource(url, limit, shard)
    return CsvSource(RemoteCsv(url, allow_private), limit, shard)
