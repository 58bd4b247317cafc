"""Pages of hits, cut from one ranking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..query import MAX_LIMIT, Query

# `[id, score, …]`
Row = list[Any]

# Least number of hits to request from an approximate index, so that the first pages of a query share a search.
APPROXIMATE_FIRST = 64
# Decimals of a row's cosine that are the same in every call.
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one page, the number of near duplicates folded into each, and whether there is a next page."""

    rows: list[Row]
    folded: list[int]
    has_more: bool


def collect_page(ask: Callable[[int], list[Row]], query: Query, first: int) -> Page:
    """Request the best rows, and more of them until they fill the query's page.

    All pages are cut from one ranking that starts at the best row. Rows with equal scores are ranked by id, and only
    once all of them are known. So the pages of an exact index never repeat or skip a row, whatever their sizes.

    Args:
        ask: returns the best `n` rows that match the filter.
        first: the least number of rows to request.
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
    """Return the rows whose ranks are certain, best first, and whether the ranking ends with them.

    Args:
        asked: the number of rows that were requested.
        min_score: leave out rows below this score.
    """
    scores = rank_score(np.array([row[1] for row in rows], np.float64)).tolist()
    scored = sorted(zip(scores, rows, strict=True), key=lambda pair: (-pair[0], pair[1][0]))
    ranked = [row for _, row in scored]
    if min_score is not None and ranked and ranked[-1][1] < min_score:
        return [row for row in ranked if row[1] >= min_score], True
    if len(ranked) < asked or asked == MAX_LIMIT:
        return ranked, True
    # rows that were not returned may have the last score, too
    return [row for score, row in scored if score > scored[-1][0]], False


def rank_score(scores: np.ndarray) -> np.ndarray:
    """Round scores, float64[n], to the digits that are the same in every call."""
    return np.round(scores, _DIGITS)
