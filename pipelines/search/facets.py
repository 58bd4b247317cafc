"""Facets: each column's values, dates and folders, with the number of rows that have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..fields import KEY, PATH, Field, FieldType, format_date
from ..query import And, Compare, Filter, Not, OneOf, Or
from .column_table import Column, ColumnTable
from .folder_nodes import FolderNodes
from .matching import Matched

if TYPE_CHECKING:
    import pyarrow as pa

MOST_VALUES = 500
MOST_FOLDERS = 2_000
_NEAREST = 3
_LEAST_SIMILAR = 70  # percent, by rapidfuzz's WRatio, to which "Cannon" is near "Canon EOS 40D"


@dataclass(frozen=True, slots=True)
class Value:
    """A value and the rows that have it."""

    value: str | bool
    count: int


@dataclass(frozen=True, slots=True)
class Year:
    """A year, its rows, and those of each of its months (1 to 12) that has some."""

    year: int
    count: int
    months: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Facet:
    """What one column holds.

    values: of a text and of true and false, those of most rows first; at most MOST_VALUES, of `distinct`.
    low, high: the smallest and the largest number or day of the whole collection, whatever the filter leaves.
    years: of a date, the last one first.
    empty: rows without a value.
    """

    field: Field
    values: tuple[Value, ...] = ()
    distinct: int = 0
    low: float | str | None = None
    high: float | str | None = None
    years: tuple[Year, ...] = ()
    empty: int = 0


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder, the rows in it at any depth, and its subfolders; `is_cut` if some are left out."""

    path: str
    name: str
    count: int
    folders: tuple[Folder, ...] = ()
    is_cut: bool = False


class Suggestion(NamedTuple):
    """A value of the filter that no row has, and the nearest ones that some have."""

    column: str
    value: str
    nearest: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facets:
    """The facets of the rows that a filter leaves.

    total: how many those are, of `rows` in the collection.
    columns: a column's facet counts the rows that the filter would leave without its own condition of that column, so
        that the counts of `label` under `label == "dog"` say what each other label would give.
    folders: the tree of folders, from the first one that branches; counted likewise, without conditions of the path.
    suggestions: for values of the filter that no row has.
    age: seconds since the columns were known to be the collection's.
    """

    total: int
    rows: int
    columns: tuple[Facet, ...]
    folders: tuple[Folder, ...]
    suggestions: tuple[Suggestion, ...]
    age: float = 0.0


def describe(column: Column, mask: np.ndarray) -> Facet:
    """Return the facet of a column for the rows of a mask, bool[n]. Values that only other rows have count 0."""
    field, given = column.field, mask & ~column.empty
    empty = int(mask.sum() - given.sum())
    if column.distinct is not None:
        counts = np.bincount(column.values[given], minlength=len(column.distinct))
        overall = np.bincount(column.values, minlength=len(column.distinct))
        texts = column.distinct
        has_blank = bool(column.empty.any())
        values = [Value(texts[place].as_py(), int(counts[place])) for place in _largest(counts, overall)]
        kept = tuple(value for value in values if value.value != "")[:MOST_VALUES]
        return Facet(field, kept, len(texts) - has_blank, empty=empty)
    if field.type is FieldType.BOOL:
        both = [Value(flag, int((column.values[given] == flag).sum())) for flag in (True, False)]
        return Facet(field, tuple(both), 2, empty=empty)
    known = column.values[~column.empty]
    if not len(known):
        return Facet(field, empty=empty)
    low, high = known.min().item(), known.max().item()
    if field.type is not FieldType.DATE:
        return Facet(field, low=low, high=high, empty=empty)
    years = tuple(_years(column.values[given]))
    return Facet(field, low=format_date(low)[:10], high=format_date(high)[:10], years=years, empty=empty)


def folder_tree(table: ColumnTable, mask: np.ndarray, under: str = "", most: int = MOST_FOLDERS) -> tuple[Folder, ...]:
    """Return the folders below one, or all of them from the first that branches; those of empty count are left out.

    Args:
        most: the number of folders, the upper ones first. A folder whose subfolders are not all there `is_cut`.
    """
    paths = table.column(PATH)
    nodes, codes = paths.folder_nodes, paths.folders.indices.to_numpy()[paths.values[mask]]
    counts = np.bincount(codes, minlength=len(paths.folders.dictionary))
    totals = nodes.totals(counts)
    at = nodes.places.get(under.rstrip("/") + "/" if under else "", -1)
    if at < 0:
        return ()
    while not under and len(below := nodes.children_with(at, totals)) == 1 and not totals[at] > totals[below[0]]:
        at = below[0]
    shown: set[int] = set()
    level = [at]
    while level and len(shown) < most:
        level = [child for parent in level for child in nodes.children_with(parent, totals)]
        shown.update(level[: most - len(shown)])
    return _folders(nodes, at, totals, shown)


def suggestions(filter: Filter | None, table: ColumnTable) -> tuple[Suggestion, ...]:
    """Return for each text of a filter that no row has what was perhaps meant."""
    return tuple(found for compared, value in _texts(filter) if (found := suggest(table, compared, value)))


def suggest(table: ColumnTable, name: str, value: str) -> Suggestion | None:
    """Return the values of a text column that are nearest to one that no row has; None if a row has it."""
    from rapidfuzz import fuzz, process, utils

    column = table.column(name)
    if column.distinct is None or name in (PATH, KEY):
        return None
    texts: pa.Array = column.distinct
    known = texts.to_pylist()
    if value in known:
        return None
    found = process.extract(
        value, known, scorer=fuzz.WRatio, processor=utils.default_process, limit=_NEAREST, score_cutoff=_LEAST_SIMILAR
    )
    return Suggestion(name, value, tuple(text for text, _, _ in found))


def _largest(counts: np.ndarray, overall: np.ndarray) -> list[int]:
    """The places of the largest counts, those that are largest overall first among equal ones."""
    size = counts.astype(np.int64) * (overall.max(initial=0) + 1) + overall
    most = MOST_VALUES + 1  # one may be the blank
    places = np.argpartition(-size, most)[:most] if len(size) > most else np.arange(len(size))
    largest: list[int] = places[np.lexsort((places, -size[places]))].tolist()
    return largest


def _years(moments: np.ndarray) -> Iterator[Year]:
    """Milliseconds since 1970 → years, the last one first."""
    months, counts = np.unique(
        moments.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64), return_counts=True
    )
    by_year: dict[int, list[tuple[int, int]]] = {}
    for month, count in zip(months.tolist(), counts.tolist(), strict=True):
        by_year.setdefault(1970 + month // 12, []).append((month % 12 + 1, count))
    for year, parts in sorted(by_year.items(), reverse=True):
        yield Year(year, sum(count for _, count in parts), tuple(parts))


def _folders(nodes: FolderNodes, at: int, totals: np.ndarray, shown: set[int]) -> tuple[Folder, ...]:
    found = []
    for child in nodes.children_with(at, totals):
        if child in shown:
            path, below = nodes.paths[child], _folders(nodes, child, totals, shown)
            is_cut = len(below) < len(nodes.children_with(child, totals))
            name = path[len(nodes.paths[at]) :].strip("/") or path
            found.append(Folder(path, name, int(totals[child]), below, is_cut))
    return tuple(found)


def _texts(filter: Filter | None) -> Iterator[tuple[str, str]]:
    """The texts that a filter compares columns with for equality."""
    match filter:
        case And() | Or():
            for operand in filter.operands:
                yield from _texts(operand)
        case Not():
            yield from _texts(filter.operand)
        case Compare(column, "==", str(value)):
            yield column, value
        case OneOf():
            yield from ((filter.column, value) for value in filter.values if isinstance(value, str))


def column_facets(table: ColumnTable, matched: Matched, names: Sequence[str] | None = None) -> tuple[Facet, ...]:
    """Return the facets of some columns, or of all; a column's own condition does not count for it."""
    wanted = [field.name for field in table.fields] if names is None else names
    return tuple(describe(table.column(name), matched.without(name)) for name in wanted)
