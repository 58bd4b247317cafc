"""Match rows of a source with stored rows. One file is one row, whoever lists it and wherever it has moved."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import takewhile
from typing import Any, NamedTuple

from ..fetch.presence import GONE
from ..fetch.read import is_remote
from ..fields import ID, PATH
from ..milvus import schema
from ..milvus.collection import Collection
from ..milvus.literals import list_literal
from ..sources.source import Row, path_id
from .gone import GoneFiles

Stored = Mapping[str, Any]
# Of rows with one content, such as a thousand white pages: how many to compare, and how many files to look for.
_MAX_ALIKE, _MAX_LOOKS = 1000, 20
# Only one in 8 million ids that are derived from a path is this small.
_LARGEST_GIVEN = 2**40


class Match(NamedTuple):
    """A row of a source and the stored row that it matches, None for a new one.

    listed: the row as the source lists it.
    row: the row with the id under which it will be stored, and with its real path if that is the stored one.
    moved: whether its file has moved, so that the stored row's file is gone.
    is_taken: whether another row has the id.
    absorbed: another stored row of the same file, which is merged into this one.
    """

    listed: Row
    row: Row
    stored: Stored | None
    moved: bool = False
    is_taken: bool = False
    absorbed: Stored | None = None

    @property
    def replaces(self) -> tuple[int, ...]:
        """Ids of stored rows that will be stored under the id of this row instead."""
        return tuple(one[ID] for one in (self.stored, self.absorbed) if one is not None and one[ID] != self.row.id)


class Identity:
    """Finds the stored rows of a source's rows.

    Args:
        names: the fields of a stored row.
        source: the name of the source.
    """

    def __init__(self, collection: Collection, names: Sequence[str], source: str, gone: GoneFiles) -> None:
        self._collection, self._names, self._source, self._gone = collection, list(names), source, gone
        self._was_empty = collection.count() == 0
        self._real_folder = lru_cache(1000)(os.path.realpath)
        self._used: set[int] = set()  # ids of stored rows that were taken over, and free ids for new rows

    def match(self, rows: Sequence[Row]) -> list[Match]:
        """Find rows by their ids, then by their paths. Makes a second query if rows are new or have another path."""
        stored = self._collection.get([row.id for row in rows], self._names)
        matches = [Match(row, row, stored.get(row.id)) for row in rows]
        strangers = [
            at
            for at, (_, row, found, *_) in enumerate(matches)
            if (found is None or found[PATH] != row.path or row.id in self._used) and _is_storable(row.path)
        ]
        if self._was_empty or not strangers:
            return matches
        by_path = self._find_paths({path for at in strangers for path in self._paths(rows[at])})
        for at in strangers:
            _, row, found, *_ = matches[at]
            alike = [one for path in self._paths(row) for one in by_path.get(path, ())]
            matches[at] = self._resolve(row, found, alike)
        return matches

    def match_content(self, match: Match, device: int, alike: Sequence[Stored]) -> Match:
        """Find the row of a file that has moved, or that was listed by a link to it.

        Args:
            match: the match of a row that has another path than its stored row, or has no stored row.
            device: st_dev of the row's file.
            alike: stored rows with the content of the row's file, by id.
        """
        row, found = match.row, match.stored
        if found is not None:  # by an id that a CSV gives
            has_content = any(one[ID] == found[ID] for one in alike)
            return match._replace(moved=has_content and self._gone.state(found, device) == GONE)
        free = self._unused(row, alike)[:_MAX_ALIKE]
        for one in sorted(free, key=lambda one: (-_common_tail(one[PATH], row.path), one[ID]))[:_MAX_LOOKS]:
            is_gone = self._gone.state(one, device) == GONE
            if is_gone or self._is_same_file(one[PATH], row.path):
                whole = self._collection.get([one[ID]], self._names).get(one[ID])
                return self._claim(row, whole, is_gone)
        return match._replace(row=self._with_free_id(row)) if match.is_taken and not _is_given(row) else match

    def _resolve(self, row: Row, found: Stored | None, alike: Sequence[Stored]) -> Match:
        """Choose between the stored row with the same id but another path, and those with the same path."""
        others = self._unused(row, alike)
        if found is not None and _is_given(row):
            absorbed = next((one for one in others if one[ID] != found[ID]), None)
            self._used.update(() if absorbed is None else (absorbed[ID],))
            return Match(row, self._with_real_path(row, found), found, absorbed=absorbed)
        if not others:
            return Match(row, row, None, is_taken=found is not None or row.id in self._used)
        best = min(others, key=lambda one: (self._source not in schema.split_sources(one[schema.SOURCE]), one[ID]))
        return self._claim(row, best)

    def _claim(self, row: Row, stored: Stored | None, moved: bool = False) -> Match:
        """Take a stored row over, with its id or with the one that a CSV gives."""
        if stored is None:
            return Match(row, row, None)
        if moved or _is_given(row):
            self._used.add(stored[ID])
        own = self._with_real_path(row, stored)
        return Match(row, own if _is_given(row) else own._replace(id=stored[ID]), stored, moved)

    def _unused(self, row: Row, alike: Iterable[Stored]) -> list[Stored]:
        """The rows of `alike` that a row may match. A CSV has one row per given id, even if two ids share one file."""
        given = _is_given(row)
        return [one for one in alike if one[ID] not in self._used and not (given and _has_given_id(one, self._source))]

    def _with_real_path(self, row: Row, stored: Stored) -> Row:
        """The row with the stored path if that is its real path: the source may list a link to the file."""
        return row._replace(path=stored[PATH]) if stored[PATH] in self._paths(row) else row

    def _with_free_id(self, row: Row) -> Row:
        """The row with the next free id if another row has the id that is derived from its path."""
        key = row.id
        while key in self._used or self._collection.get([key], [PATH]):
            key = (key + 1) % 2**63
        if key != row.id:
            self._used.add(key)
        return row._replace(id=key)

    def _paths(self, row: Row) -> tuple[str, ...]:
        """The path of a row, and the real one if it differs."""
        if is_remote(row.path):
            return (row.path,)
        folder, name = os.path.split(row.path)
        real = os.path.join(self._real_folder(folder), name)
        if os.path.islink(real):
            real = os.path.realpath(real)
        return (row.path,) if real == row.path or not _is_storable(real) else (row.path, real)

    def _find_paths(self, paths: set[str]) -> dict[str, list[Stored]]:
        found: dict[str, list[Stored]] = {}
        for row in self._collection.query(f"{PATH} in {list_literal(sorted(paths))}", [ID, *self._names]):
            found.setdefault(row[PATH], []).append(row)
        return found

    def _is_same_file(self, stored: str, path: str) -> bool:
        return not is_remote(stored) and os.path.realpath(stored) == os.path.realpath(path)


def _is_given(row: Row) -> bool:
    """Whether a CSV gives the id of a row."""
    return bool(row.fields.get(schema.KEY)) or row.id != path_id(row.path)


def _has_given_id(stored: Stored, source: str) -> bool:
    """Whether a CSV gave the id of a stored row: a guess, because the row's path may have changed since."""
    if stored[schema.KEY] or stored[ID] == path_id(stored[PATH]):
        return bool(stored[schema.KEY])
    return abs(stored[ID]) <= _LARGEST_GIVEN or source in schema.split_sources(stored[schema.SOURCE])


def _is_storable(path: str) -> bool:
    try:
        return 0 < len(path.encode()) <= schema.MAX_TEXT_BYTES
    except UnicodeEncodeError:
        return False


def _common_tail(path: str, other: str) -> int:
    """The number of names that two paths share at their ends."""
    pairs = zip(reversed(path.split("/")), reversed(other.split("/")), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
