"""Pages of hits, cut from one ranking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..query import MAX_LIMIT, Query

# `[id, score, …]`
Row = list[Any]

# An approximate index is asked for 64, 128, 256 … hits, so that the pages of a query come from the same question.
APPROXIMATE_FIRST = 64
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
    count = min(max(first, needed + 1), MAX_LIMIT)
    while True:
        rows, complete = ranked_rows(ask(count), count, query.min_score)
        if complete or len(rows) >= needed:
            page = rows[query.offset : end]
            return Page(page, [0] * len(page), len(rows) > end)
        count = min(2 * count, MAX_LIMIT)


def ranked_rows(rows: Sequence[Row], asked: int, min_score: float | None) -> tuple[list[Row], bool]:
    """Return those of the best rows whose ranks are certain, and whether no others follow.

    Args:
        asked: how many were asked for.
        min_score: leave out the rows below it.
    """
    scores = rank_score(np.array([row[1] for row in rows], np.float64)).tolist()
    scored = sorted(zip(scores, rows, strict=True), key=lambda pair: (-pair[0], pair[1][0]))
    ranked = [row for _, row in scored]
    if min_score is not None and ranked and ranked[-1][1] < min_score:
        return [row for row in ranked if row[1] >= min_score], True
    if len(ranked) < asked or asked == MAX_LIMIT:
        return ranked, True
    # the rows after these may have the last score too
    return [row for score, row in scored if score > scored[-1][0]], False


def rank_score(scores: np.ndarray) -> np.ndarray:
    """float64[n] → the scores without the digits that differ between two calls."""
    return np.round(scores, _DIGITS)
