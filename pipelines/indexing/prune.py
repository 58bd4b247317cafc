"""Pruning: remove the rows of a source whose file or CSV line is gone, unless the source itself seems to be gone."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..fetch.read import is_remote
from ..fields import ID, PATH
from ..milvus import schema
from ..milvus.collection import Collection
from ..milvus.filter_expression import text_literal

if TYPE_CHECKING:
    from pandas import DataFrame

# Called with the number of rows that are gone and the number of all rows of the source; returns whether to remove them.
Confirm = Callable[[int, int], bool]


def source_name(source: str | os.PathLike[str] | DataFrame) -> str:
    """Return what names a source in its rows: a real path or an address, '' for a DataFrame."""
    if not isinstance(source, (str, os.PathLike)):
        return ""
    text = os.fspath(source)
    return text if is_remote(text) else os.path.realpath(os.path.expanduser(text))


def prune_gone(
    collection: Collection, source: str, present: array[int], unlisted: Iterable[str], confirm: Confirm
) -> int:
    """Remove the rows of a source that are gone, and return how many.

    A row belongs to the source that listed it last; rows of other sources stay.

    Args:
        present: ids of the rows whose file exists, or may exist.
        unlisted: folders that cannot be listed; nothing below them counts as gone.

    Raises:
        InputError: not one file of the source exists, as when a disk is not mounted.
    """
    of_source = f"{schema.SOURCE} == {text_literal(source)}"
    stored = np.fromiter((row[ID] for rows in collection.scan(of_source, []) for row in rows), np.int64)
    gone = np.setdiff1d(stored, np.array(present, np.int64), assume_unique=True).tolist()
    below = tuple(os.path.join(folder, "") for folder in unlisted)
    if gone and below:
        gone = [key for key, row in collection.get(gone, [PATH]).items() if not row[PATH].startswith(below)]
    if not gone:
        return 0
    if not present:
        raise InputError(
            f"not one of the {len(stored):,} images of {source} is there (is its disk mounted?): nothing was removed"
        )
    if not confirm(len(gone), len(stored)):
        return 0
    collection.delete(gone)
    return len(gone)
