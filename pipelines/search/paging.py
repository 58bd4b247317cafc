"""Pages of hits, and near duplicates folded into the best of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..query import MAX_LIMIT, Query

# `[id, score, …]`; the last value is the embedding of unit length if duplicates are folded.
Row = list[Any]

# An approximate index is asked for 64, 128, 256 … hits, so that the pages of a query come from the same question.
APPROXIMATE_FIRST = 64
# Folding looks at the embeddings of this many rows at most: more do not fit into one message of Milvus.
FOLD_DEPTH = 4_096
# The cosine of a row can differ between two calls after these digits.
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one page, how many near duplicates were folded into each, and whether there is a next page."""

    rows: list[Row]
    folded: list[int]
    has_more: bool


def collect_page(ask: Callable[[int], list[Row]], query: Query, first: int) -> Page:
    """Ask for the best rows, and for more of them until they fill the query's page.

    All pages are cut from one ranking that starts at the best row. Rows of equal score are ranked by id, and only
    once all of them are known. So the pages of an exact index neither repeat nor skip a row, whatever their sizes.

    Args:
        ask: returns the best `n` rows that match the filter.
        first: the number of rows to ask for first.
    """
    end = query.offset + query.limit
    needed = end + 1  # one more tells whether there is a next page
    deepest = FOLD_DEPTH if query.fold is not None else MAX_LIMIT
    count = min(max(first, needed + 1), deepest)
    while True:
        rows = sorted(ask(count), key=lambda row: (-_rank_score(row), row[0]))
        complete = len(rows) < count or count == deepest
        if query.min_score is not None and rows and rows[-1][1] < query.min_score:
            rows = [row for row in rows if row[1] >= query.min_score]
            complete = True
        if not complete:  # the rows after these may have the last score too
            rows = [row for row in rows if _rank_score(row) > _rank_score(rows[-1])]
        rows, folded = fold_duplicates(rows, query.fold) if query.fold is not None else (rows, [0] * len(rows))
        if complete or len(rows) >= needed:
            return Page(rows[query.offset : end], folded[query.offset : end], len(rows) > end)
        count = min(2 * count, deepest)


def fold_duplicates(rows: Sequence[Row], threshold: float) -> tuple[list[Row], list[int]]:
    """Keep the best row of each group of near duplicates, and count the others.

    A row is folded into the best kept row with which its cosine is at least `threshold`. Later rows never change
    which of the earlier rows are kept, so a longer ranking starts like a shorter one.

    Args:
        rows: best first; the last value of each is its embedding, float32[dim] of unit length.

    Returns:
        The kept rows, and how many were folded into each.
    """
    if not rows:
        return [], []
    embeddings = np.stack([np.asarray(row[-1], np.float32) for row in rows])
    kept: list[int] = []
    folded: list[int] = []
    for index, embedding in enumerate(embeddings):
        cosines = embeddings[kept] @ embedding if kept else np.empty(0)
        near = np.flatnonzero(cosines >= threshold)
        if len(near):
            folded[near[0]] += 1
        else:
            kept.append(index)
            folded.append(0)
    return [rows[index] for index in kept], folded


def _rank_score(row: Row) -> float:
    return round(float(row[1]), _DIGITS)
