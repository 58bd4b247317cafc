"""Equal ids in two sources: before any work is done, finds rows that would replace another source's images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..fetch.presence import UNMOUNTED
from ..fetch.read import is_remote
from ..fields import ID, PATH
from ..milvus import schema
from ..milvus.collection import Collection
from ..milvus.index import is_server
from ..milvus.literals import text_literal
from ..sources.csv_source import CsvSource
from ..sources.source import Row, Source
from .contents import hash_files
from .gone import GoneFiles

_CHUNK_ROWS = 1000
_LARGEST = 2**63 - 1


def refuse_clash(collection: Collection, source: Source, name: str, gone: GoneFiles) -> None:
    """Check that no id that a source gives belongs to another image of another source.

    A row does not clash if it has the same path or content, if its file does not exist, so that it replaces nothing, or
    if all sources of the stored row are gone: then this is the same source, moved or renamed.

    Args:
        name: the name of the source.

    Raises:
        InputError: there is such an id.
    """
    if not isinstance(source, CsvSource) or not len(source.given_ids):
        return
    shared = _shared_ids(collection, source.given_ids, name)
    if not shared:
        return
    for row, stored in _shared_rows(collection, source, shared):
        is_there = is_remote(row.path) or os.path.exists(row.path)
        if not is_there or _is_same_image(row, stored):
            continue
        others = [other for other in _sources(stored) if _may_exist(other, stored, gone)]
        if not others:
            continue
        where = f"row {row.line} of {name}" if name else f"row {row.line} of the DataFrame"
        raise InputError(
            f"id {row.shown_id} is {stored[PATH]} in {others[0] or 'an unnamed source'} and {row.path} in {where}: "
            "derive the ids from the paths (--ids from-path), let this source replace the others' rows (--replace), "
            "or take another collection (--collection)"
        )


def refuse_lost_id(collection: Collection, source: Source) -> None:
    """Raise InputError if a source gives the one id that a server stores but does not find again."""
    if isinstance(source, CsvSource) and is_server(collection.uri) and (source.given_ids == _LARGEST).any():
        raise InputError(f"a Milvus server does not find the id {_LARGEST} again: give that row another id")


def _shared_ids(collection: Collection, given: np.ndarray, name: str) -> set[int]:
    """Those of int64[n] ids that belong to rows of other sources but not to rows of this one."""
    shared: set[int] = set()
    if not collection.query(f"{schema.SOURCE} != {text_literal(name)}", [ID], limit=1):
        return shared
    for start in range(0, len(given), _CHUNK_ROWS):
        # These reads need not be strong: after a strong read they, too, see the latest writes.
        stored = collection.get(given[start : start + _CHUNK_ROWS].tolist(), [schema.SOURCE], strong=False)
        shared.update(key for key, row in stored.items() if name not in _sources(row))
    return shared


def _shared_rows(collection: Collection, source: Source, ids: set[int]) -> Iterator[tuple[Row, Mapping[str, Any]]]:
    """The rows of the source with these ids, each with the stored row."""
    names = [PATH, schema.HASH, schema.SOURCE, *([schema.DEVICE] if collection.version() > 1 else [])]
    for rows in source.chunks(_CHUNK_ROWS):
        rows = [row for row in rows if row.id in ids]
        stored = collection.get([row.id for row in rows], names) if rows else {}
        yield from ((row, stored[row.id]) for row in rows if row.id in stored)


def _sources(stored: Mapping[str, Any]) -> Sequence[str]:
    """The names of a row's sources; that of a DataFrame is ''."""
    return schema.split_sources(stored[schema.SOURCE]) or ("",)


def _is_same_image(row: Row, stored: Mapping[str, Any]) -> bool:
    if row.path == stored[PATH]:
        return True
    if is_remote(row.path):
        return False
    if not is_remote(stored[PATH]) and os.path.realpath(row.path) == os.path.realpath(stored[PATH]):
        return True
    return bool(stored[schema.HASH]) and hash_files([row.path]) == [stored[schema.HASH]]


def _may_exist(source: str, stored: Mapping[str, Any], gone: GoneFiles) -> bool:
    """Whether a source of a stored row may exist. A CSV and its images may be on a disk that is not mounted."""
    return not source or gone.has_source(source, stored) or gone.state(stored) == UNMOUNTED
