"""Sources of images to index: a table of paths, a folder, or a folder in an object store.

A table is a CSV or TSV, JSON Lines, Parquet or a DataFrame. A source is first checked as a whole, before any work is
done, then read in chunks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..fetch.read import is_remote, is_web, local_path, open_store, store_errors
from .choice import Choice
from .column_types import NO_TYPES, ColumnType, refuse_unknown
from .csv_source import CsvSource
from .csv_text import RemoteCsv, sniff
from .folder import IMAGE_SUFFIXES, BucketSource, FolderSource
from .reject_list import RejectSource, read_rejects
from .source import WHOLE, Shard, Source
from .tables import CONVERTERS, convert_file, convert_frame

if TYPE_CHECKING:
    from pandas import DataFrame


def open_source(
    source: str | os.PathLike[str] | DataFrame,
    limit: int = 0,
    shard: Shard = WHOLE,
    allow_private: bool = False,
    *,
    path_column: str = "",
    exclude: Sequence[str] = (),
    include_hidden: bool = False,
    ids_from_path: bool = False,
    types: Mapping[str, ColumnType] = NO_TYPES,
) -> Source:
    """Open and check a table or a folder: local, on the web (a table only), or in an object store.

    If it is a list of rejected images, opens the rows of these images in the sources that the list names.

    Args:
        limit: take at most this many rows, the first ones; 0 takes all.
        shard: take only this part of the rows. Checks and column types always cover the whole source.
        allow_private: also fetch a table from a private address.
        path_column: the column of a table that holds the paths; '' looks for `path`, then for usual names.
        exclude: gitignore patterns for files and folders to leave out of a folder.
        include_hidden: also take hidden files, thumbnails and recycle bins in a folder.
        ids_from_path: derive the ids of a table's rows from their paths, even if it has a column `id`.
        types: types for columns of a table, instead of those that their cells suggest.

    Raises:
        InputError: there is no such source, or it holds something that would stop the run later.
    """
    if not isinstance(source, (str, os.PathLike)):
        return CsvSource(*convert_frame(source, path_column), os.getcwd(), limit, shard, ids_from_path, types)
    name = local_path(os.fspath(source))
    location = Path(os.path.expanduser(name))
    choice = Choice(tuple(exclude), include_hidden)
    if not is_remote(name) and os.path.isdir(location):
        refuse_unknown(types, ())
        return FolderSource(location, limit, shard, choice)
    if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
        raise InputError(f"{name} is an image: give a CSV of paths, or the folder that holds it")
    if is_remote(name):
        if not is_web(name) and _is_folder(name):
            refuse_unknown(types, ())
            return BucketSource(name, limit, shard, choice)
        return _open_table(RemoteCsv(name, allow_private), name, path_column, limit, shard, ids_from_path, types)
    if not os.path.exists(location):
        raise InputError(f"there is no file or folder {location}")
    if not os.path.isfile(location):
        raise InputError(f"{location} is not a regular file, and a CSV is read twice: save it as a file first")
    rejected = None if path_column else read_rejects(location)
    if rejected is not None:
        return RejectSource(location, rejected, lambda name: _open_recorded(name, allow_private, types), limit, shard)
    return _open_table(
        location, os.path.dirname(os.path.abspath(location)), path_column, limit, shard, ids_from_path, types
    )


def _open_recorded(name: str, allow_private: bool, types: Mapping[str, ColumnType]) -> Source:
    """Open a source that a list of rejected images names."""
    if os.path.isfile(name) and read_rejects(Path(name)) is not None:
        raise InputError(f"{name} is a list of rejected images itself")
    return open_source(name, allow_private=allow_private, types=types)


def _open_table(
    table: os.PathLike[str],
    base: str,
    path_column: str,
    limit: int,
    shard: Shard,
    ids_from_path: bool,
    types: Mapping[str, ColumnType],
) -> Source:
    """Open a table whose relative paths start from `base`, a folder or a URL."""
    name = str(table).partition("?")[0] if is_remote(base) else table
    suffix = os.path.splitext(name)[1].lower()
    if suffix in CONVERTERS:
        return CsvSource(*convert_file(table, suffix, path_column), base, limit, shard, ids_from_path, types)
    return CsvSource(table, sniff(table, path_column), base, limit, shard, ids_from_path, types)


def _is_folder(url: str) -> bool:
    with store_errors(url):
        filesystem, name = open_store(url)
        return not filesystem.isfile(name)
