"""What all sources have in common: rows with stable ids, read in chunks, and split into shards."""

from __future__ import annotations

import os
import posixpath
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..errors import InputError
from ..fetch.read import is_remote, local_path, resolve_dots
from ..fields import KEY, Field, hash_id
from .column_types import ColumnType

MAX_SHARDS = 100_000
# Looked up once: os.fsencode does so on each call.
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


class Row(NamedTuple):
    """One image to index. `path` is absolute or a URL; `line` is its row number in a spreadsheet (the header is 1)."""

    id: int
    path: str
    line: int
    fields: dict[str, Any]

    @property
    def shown_id(self) -> str:
        """The id as the user sees it: the text of a CSV if there is one."""
        return str(self.fields.get(KEY) or self.id)


@dataclass
class Findings:
    """What a source found besides its rows. For a folder this is complete once all chunks have been read.

    notes: lines to show the user.
    unsupported: files in a folder whose kind cannot be read, with the reason, in the order of the walk.
    unlisted: folders that cannot be listed, with the reason. Their content is unknown.
    undecided: columns of dates that may have the day or the month first.
    types: the requested types, by column; a date always has a form, from the cells if none was requested.
    """

    notes: list[str] = field(default_factory=list)
    unsupported: list[tuple[Row, str]] = field(default_factory=list)
    unlisted: dict[str, str] = field(default_factory=dict)
    undecided: set[str] = field(default_factory=set)
    types: dict[str, ColumnType] = field(default_factory=dict)


class Source(Protocol):
    """A source that has been checked, with the fields of its rows and the number of rows in its shard.

    is_folder: whether it lists the files that it finds, and not rows that somebody wrote.
    fills: columns that it fills only where they are empty, because another source may have better values.
    """

    fields: tuple[Field, ...]
    total: int
    findings: Findings
    is_folder: bool
    fills: tuple[str, ...]

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """The rows of the shard in the order of the source, `size` at a time."""


class Shard(NamedTuple):
    """Part `number` of `of`, counted from 1.

    A row's shard depends only on its id, so shards are stable across machines and runs.
    """

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `3/16`; '' is the whole source.

        Raises:
            InputError: the text is anything else.
        """
        if not text:
            return cls()
        match = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text, re.ASCII)
        shard = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= shard.number <= shard.of <= MAX_SHARDS:
            raise InputError(f"--shard is a number and a count, as 3/16 (the first is 1/16), not '{text}'")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def takes(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """int64[n] ids → bool[n], True for the ids that belong to this shard."""
        bits = np.asarray(ids, np.int64).view(np.uint64)
        if self.of == 1:
            return np.ones(len(bits), bool)
        # SplitMix64 (Steele, Lea and Flood 2014, as in Java's SplittableRandom) spreads multiples of 2, say, evenly.
        mixed = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
        return np.asarray(mixed % np.uint64(self.of) == np.uint64(self.number - 1))


WHOLE = Shard()


def path_id(path: str) -> int:
    """A stable 63-bit id for a path: the same file keeps its row in every run."""
    return hash_id(path.encode(_ENCODING, _ERRORS))


def absolute_in(base: str) -> Callable[[str], str]:
    """Return a function that turns cells of the column `path` into absolute paths or URLs; '' stays ''.

    Args:
        base: the folder that relative paths start from, or the URL of the CSV that holds them.
    """
    scheme, _, rest = base.partition("?")[0].partition("://")
    host, _, name = rest.partition("/")
    server = f"{scheme}://{host}" if is_remote(base) else ""
    folder = posixpath.dirname(f"/{name}") if server else os.path.join(base, "")

    folder_of = lru_cache(1000)(resolve_dots)

    def absolute(path: str) -> str:
        if not path or ("://" in path and is_remote(path)):
            return path
        if server:
            return server + posixpath.normpath(posixpath.join(folder, path))
        if path[0] in "~/" or "://" in path or os.name == "nt":  # other paths need neither call, which saves a million
            path = os.path.expanduser(local_path(path))
        path = os.path.join(folder, path)
        if ".." in path:
            parent, name = os.path.split(path)
            path = os.path.join(folder_of(parent), name)
        return os.path.normpath(path)

    return absolute


def in_chunks(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Yield lists of `size` rows; the last one may be shorter."""
    remaining = iter(rows)
    while chunk := list(islice(remaining, size)):
        yield chunk
