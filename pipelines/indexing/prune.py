"""Removes the rows of a source whose file or CSV line is gone, unless it looks as if the source itself were gone."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..fetch.read import is_remote
from ..milvus import schema
from ..milvus.collection import Collection
from ..milvus.filter_expression import text_literal

if TYPE_CHECKING:
    from pandas import DataFrame

# Called with the rows that are gone and all rows of the source; whether to remove them.
Confirm = Callable[[int, int], bool]


def source_name(source: str | os.PathLike[str] | DataFrame) -> str:
    """What a row keeps of where it was listed: the real path of the file or folder, an address as it is.

    '' for a DataFrame.
    """
    if not isinstance(source, (str, os.PathLike)):
        return ""
    text = os.fspath(source)
    return text if is_remote(text) else os.path.realpath(os.path.expanduser(text))


def prune_gone(
    collection: Collection, source: str, present: array[int], unlisted: Iterable[str], confirm: Confirm
) -> int:
    """Removes what is gone; returns how many rows.

    A row belongs to the source that listed it last: rows of other sources in the collection are left alone.

    Args:
        present: ids of the rows whose file is there now, or may be.
        unlisted: folders that cannot be listed; nothing below them counts as gone.

    Raises:
        InputError: not one file of the source is there, as when a disk is not mounted.
    """
    there = np.sort(np.frombuffer(present, np.int64)) if present else np.empty(0, np.int64)
    expression = f"{schema.SOURCE} == {text_literal(source)}"
    gone: list[int] = []
    total = 0
    unknown = tuple(os.path.join(folder, "") for folder in unlisted)
    for rows in collection.scan(expression, [schema.PATH] if unknown else []):
        stored = np.array([row[schema.ID] for row in rows], np.int64)
        total += len(stored)
        missing = ~np.isin(stored, there, assume_unique=True)
        if unknown:
            missing &= [not row[schema.PATH].startswith(unknown) for row in rows]
        gone += stored[missing].tolist()
    if not gone:
        return 0
    if not there.size:
        raise InputError(
            f"not one of the {total:,} images of {source} is there (is its disk mounted?): nothing was removed"
        )
    if not confirm(len(gone), total):
        return 0
    collection.delete(gone)
    return len(gone)
