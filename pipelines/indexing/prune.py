"""Pruning: removes rows that their source no longer lists, and rows whose file is gone."""

from __future__ import annotations

import csv
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, counted
from ..fetch.presence import GONE, PRESENT, is_unlistable
from ..fetch.read import is_remote
from ..fields import ID, PATH
from ..milvus import schema
from ..milvus.collection import Collection
from ..milvus.literals import text_literal
from .gone import GoneFiles

if TYPE_CHECKING:
    from pandas import DataFrame

# Called with the number of rows that are gone and the number of all rows that were looked at; returns whether to remove
# them.
Confirm = Callable[[int, int], bool]
_ROWS = 4000  # rows checked together


@dataclass
class Listing:
    """The ids of the rows that a source lists.

    present: their file exists or may exist. missing: it does not exist. remote: those of `present` that are at a URL.
    """

    present: array[int] = field(default_factory=lambda: array("q"))
    missing: set[int] = field(default_factory=set)
    remote: array[int] = field(default_factory=lambda: array("q"))


@dataclass
class Pruned:
    """What pruning did, or would do.

    rows: id, path and sources of the rows that no source lists or whose file is gone.
    removed: the number of rows that were removed, 0 unless it was confirmed.
    kept: reason → number of rows whose file could not be seen.
    written_to: the CSV that lists the removed rows, '' if there are none.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    removed: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    written_to: str = ""

    @property
    def is_partial(self) -> bool:
        """Whether a folder could not be listed."""
        return any(map(is_unlistable, self.kept))

    def count_kept(self, states: Mapping[int, str]) -> None:
        """Add the states of rows to the counts."""
        self.kept.update(state for state in states.values() if state not in (GONE, PRESENT))


def source_name(source: str | os.PathLike[str] | DataFrame) -> str:
    """Return the name of a source in its rows: a real path or a URL, '' for a DataFrame."""
    if not isinstance(source, (str, os.PathLike)):
        return ""
    text = os.fspath(source)
    return text if is_remote(text) else os.path.realpath(os.path.expanduser(text))


def prune_source(
    collection: Collection, source: str, listing: Listing, is_folder: bool, gone: GoneFiles, confirm: Confirm
) -> Pruned:
    """Take the source from rows that it no longer lists or whose file is gone; remove rows without another source.

    Args:
        is_folder: check the files of rows that are not listed, because their folder may be impossible to list now.

    Raises:
        InputError: none of the source's files exists, as when a disk is not mounted.
    """
    stored = np.fromiter((key for rows in _scan(collection, source) for key in _ids(rows)), np.int64)
    unseen = np.setdiff1d(stored, np.array(listing.present, np.int64))
    # Without a dtype an empty array would be float64, in which 64-bit ids are no longer distinct.
    looked_for = np.array([*listing.missing, *(() if is_folder else listing.remote)], np.int64)
    doubtful = np.intersect1d(stored, looked_for)
    pruned, let_go = Pruned(), []
    for rows in _in_parts(collection, np.setdiff1d(unseen, doubtful)):
        states = gone.states(rows) if is_folder else dict.fromkeys(_ids(rows), GONE)
        let_go += [row for row in rows if states[row[ID]] in (GONE, PRESENT)]  # present, but excluded now
        pruned.count_kept(states)
    for rows in _in_parts(collection, doubtful):
        states = gone.states(rows)
        let_go += [row for row in rows if states[row[ID]] == GONE]
        pruned.count_kept(states)
    if let_go and not listing.present:
        raise InputError(
            f"nothing is left of {counted(len(stored), 'image')} of {source} (is its disk mounted?): nothing was "
            "removed; `image-search prune` removes what is gone for good"
        )
    pruned.rows = [row for row in let_go if _without(row, source) == ""]
    if let_go and confirm(len(let_go), len(stored)):
        _remove(collection, pruned)
        _rename(collection, {row[ID]: _without(row, source) for row in let_go if _without(row, source)})
    return pruned


def prune_collection(collection: Collection, gone: GoneFiles, confirm: Confirm) -> Pruned:
    """Remove the rows whose file is gone, whichever source lists them."""
    pruned, total = Pruned(), 0
    for rows in collection.scan("", _names(collection)):
        states = gone.states(rows)
        total += len(rows)
        pruned.rows += [row for row in rows if states[row[ID]] == GONE]
        pruned.count_kept(states)
    if pruned.rows and confirm(len(pruned.rows), total):
        _remove(collection, pruned)
    return pruned


def _remove(collection: Collection, pruned: Pruned) -> None:
    """List the rows in a new file, then delete them."""
    if pruned.rows:
        pruned.written_to = _write_list(pruned.rows)
        collection.delete(_ids(pruned.rows))
        pruned.removed = len(pruned.rows)


def _rename(collection: Collection, sources: Mapping[int, str]) -> None:
    """Replace the sources of rows."""
    names = schema.field_names(collection.describe())
    for rows in _in_parts(collection, list(sources), names):
        collection.upsert({**row, schema.SOURCE: sources[row[ID]]} for row in rows)


def _write_list(rows: Iterable[Mapping[str, Any]]) -> str:
    name = f"pruned-{datetime.now():%Y-%m-%d-%H%M%S}"
    for number in range(1, 1000):
        path = Path(f"{name}-{number}.csv" if number > 1 else f"{name}.csv")
        try:
            with open(path, "x", newline="", encoding="utf-8") as file:
                write_rows(rows, file)
                file.flush()
                os.fsync(file.fileno())
            return str(path)
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(
                f"the removed rows cannot be listed in {path} ({error.strerror}), so nothing was removed: "
                "run the command in a folder that can be written"
            ) from error
    raise InputError(f"{name}.csv and many more exist already: nothing was removed")


def write_rows(rows: Iterable[Mapping[str, Any]], file: IO[str]) -> None:
    """Write rows as the CSV id,path,source."""
    writer = csv.DictWriter(file, ["id", "path", "source"])
    writer.writeheader()
    writer.writerows(map(listed, rows))


def listed(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the cells that list a row: the id as it was given, the path, and the sources, separated by '; '."""
    sources = "; ".join(schema.split_sources(row[schema.SOURCE]))
    return {"id": row.get(schema.KEY) or str(row[ID]), "path": row[PATH], "source": sources}


def _without(row: Mapping[str, Any], source: str) -> str:
    return schema.join_sources(name for name in schema.split_sources(row[schema.SOURCE]) if name != source)


def _scan(collection: Collection, source: str) -> Iterator[list[dict[str, Any]]]:
    """All rows of a source, including those that other sources list, too."""
    yield from collection.scan(f"{schema.SOURCE} == {text_literal(source)}", [])
    several = f'{schema.SOURCE} >= {text_literal(chr(10))} and {schema.SOURCE} < "{chr(11)}"'
    for rows in collection.scan(several, [schema.SOURCE]):
        yield [row for row in rows if source in schema.split_sources(row[schema.SOURCE])]


def _in_parts(
    collection: Collection, ids: Sequence[int] | np.ndarray, names: Sequence[str] = ()
) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(ids), _ROWS):
        part = [int(key) for key in ids[start : start + _ROWS]]
        yield list(collection.get(part, names or _names(collection)).values())


def _names(collection: Collection) -> list[str]:
    there = schema.field_names(collection.describe())
    return [
        name for name in (PATH, schema.SOURCE, schema.DEVICE, schema.KEY, schema.MTIME_NS, schema.SIZE) if name in there
    ]


def _ids(rows: Iterable[Mapping[str, Any]]) -> list[int]:
    return [row[ID] for row in rows]
