"""Facets: the values, dates and folders of a collection, with the number of rows of each."""

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
_LEAST_SIMILAR = 70  # percent, by rapidfuzz's WRatio: "Cannon" is similar to "Canon EOS 40D"


@dataclass(frozen=True, slots=True)
class Value:
    """A value and the number of rows that have it."""

    value: str | bool
    count: int


@dataclass(frozen=True, slots=True)
class Year:
    """A year and its number of rows; `months` holds (month, count) for each month, 1 to 12, that has rows."""

    year: int
    count: int
    months: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Facet:
    """The values of one column.

    values: for a text column the most frequent texts, at most MOST_VALUES; for a bool column true and false.
    distinct: the number of distinct values in the whole collection.
    low, high: the smallest and the largest number or day in the whole collection, whatever the filter.
    years: for a date column, the latest first.
    empty: the number of rows without a value.
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
    """A folder, the number of rows in it at any depth, and its subfolders; `is_cut` if some of these are left out."""

    path: str
    name: str
    count: int
    folders: tuple[Folder, ...] = ()
    is_cut: bool = False


class Suggestion(NamedTuple):
    """A value in a filter that no row has, and the most similar values of its column."""

    column: str
    value: str
    nearest: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facets:
    """The facets of the rows that match a filter.

    total: the number of rows that match.
    rows: the number of rows in the collection.
    columns: the facet of each column. It ignores the conditions on that column alone, so that under the filter
        `label == "dog"` the facet of `label` still counts the other labels.
    folders: the tree of folders, without the conditions on the path.
    suggestions: for values in the filter that no row has.
    age: seconds since the columns were last known to be up to date.
    """

    total: int
    rows: int
    columns: tuple[Facet, ...]
    folders: tuple[Folder, ...]
    suggestions: tuple[Suggestion, ...]
    age: float = 0.0


def describe(column: Column, mask: np.ndarray) -> Facet:
    """Return the facet of a column for the rows in a mask, bool[n]. Values that only other rows have get count 0."""
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
    """Return the folders below `under`, or below the first that branches; folders without rows are left out.

    Args:
        most: maximum number of folders, the upper levels first. A folder without all its subfolders has `is_cut` set.
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
    """Return a suggestion for each text in a filter that no row has."""
    return tuple(found for compared, value in _texts(filter) if (found := suggest(table, compared, value)))


def suggest(table: ColumnTable, name: str, value: str) -> Suggestion | None:
    """Return the values of a text column that are most similar to one that no row has; None if a row has it."""
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
    """The indices of the largest counts, in descending order; the overall count decides among equal ones."""
    size = counts.astype(np.int64) * (overall.max(initial=0) + 1) + overall
    most = MOST_VALUES + 1  # one of them may be the empty text
    places = np.argpartition(-size, most)[:most] if len(size) > most else np.arange(len(size))
    largest: list[int] = places[np.lexsort((places, -size[places]))].tolist()
    return largest


def _years(moments: np.ndarray) -> Iterator[Year]:
    """Milliseconds since 1970 → years, the latest first."""
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
    """The pairs of a column and a text that a filter compares for equality."""
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
    """Return the facets of some columns, or of all; each ignores the conditions on its own column alone."""
    wanted = [field.name for field in table.fields] if names is None else names
    return tuple(describe(table.column(name), matched.without(name)) for name in wanted)
