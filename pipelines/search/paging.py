"""Near-duplicate folding and paging: which of Milvus's hits are shown on which page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..query import MAX_LIMIT, Query

# `[id, score, …]`, with the unit embedding last where duplicates are folded.
Row = list[Any]

# Folding needs the embeddings of all it looks at: so many travel in one message of Milvus.
FOLD_DEPTH = 4_096
# The cosine of one row differs in its last digits between two calls: equal up to here is equal.
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one page, how many near duplicates each stands for, and whether there are more."""

    rows: list[Row]
    folded: list[int]
    has_more: bool


def collect_page(ask: Callable[[int], list[Row]], query: Query, first: int) -> Page:
    """Asks for the best hits, more of them as long as needed, and cuts the query's page out.

    Every page starts from the best hit, and rows of equal score are shown in the order of their ids only once all
    of them are known. So pages of an exact index neither repeat nor skip a row, whatever their sizes.

    Args:
        ask: returns the best `n` rows that match the filter.
        first: how many to ask for at first.
    """
    wanted = query.offset + query.limit + 1  # one more tells whether there are more
    deepest = FOLD_DEPTH if query.fold is not None else MAX_LIMIT
    count = min(max(first, wanted + 1), deepest)
    while True:
        rows = sorted(ask(count), key=lambda row: (-_rank_score(row), row[0]))
        complete = len(rows) < count or count == deepest
        if query.min_score is not None and rows and rows[-1][1] < query.min_score:
            rows = [row for row in rows if row[1] >= query.min_score]
            complete = True
        if not complete:  # more rows may share the last one's score
            rows = [row for row in rows if _rank_score(row) > _rank_score(rows[-1])]
        rows, folded = fold_duplicates(rows, query.fold) if query.fold is not None else (rows, [0] * len(rows))
        if complete or len(rows) >= wanted:
            end = query.offset + query.limit
            return Page(rows[query.offset : end], folded[query.offset : end], len(rows) > end)
        count = min(2 * count, deepest)


def fold_duplicates(rows: Sequence[Row], threshold: float) -> tuple[list[Row], list[int]]:
    """Keeps the best of each group of near duplicates, and counts the others.

    A row belongs to the first, that is best, kept row with which its cosine is at least `threshold`. What is kept
    of the first rows does not depend on those after them: paging goes on where it was.

    Args:
        rows: best first, each with its unit embedding, float32[dim], as its last value.

    Returns:
        The kept rows and how many were folded into each.
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
    return round(row[1], _DIGITS)
