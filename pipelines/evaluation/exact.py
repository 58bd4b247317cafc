"""Exact search over stored vectors, a slice at a time: the truth that rankings and the index are measured by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

# Scores held at once, 64 MB of float32: bounds the memory whatever the size of the collection.
_SCORES_AT_ONCE = 16_000_000
_MOST_QUERIES = 1024
# Vectors multiplied at once: their float64 copy and its scores take less memory than the scores above.
_ROWS_AT_ONCE = 4096
# A product of float32 vectors is right to about 1e-7; closer scores than this are equal.
DECIMALS = 6


def scores_of(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Cosines of unit vectors, float32[q, n], rounded so that noise of the arithmetic makes no difference.

    Multiplied in float64: in float32 the last bit of a product depends on where its vector stands among the others,
    and equal vectors could be rounded apart.
    """
    wide = queries.astype(np.float64)
    scores = np.empty((len(queries), len(vectors)), np.float32)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        products = wide @ vectors[part].T.astype(np.float64)
        scores[:, part] = np.round(products, DECIMALS, out=products)
    return scores


def slices(queries: int, rows: int) -> Iterator[tuple[slice, slice]]:
    """Pairs of slices, of queries and of rows, that cover all of both without too many scores at once."""
    step = max(1, _SCORES_AT_ONCE // max(1, min(queries, _MOST_QUERIES)))
    for first in range(0, queries, _MOST_QUERIES):
        for start in range(0, rows, step):
            yield slice(first, min(first + _MOST_QUERIES, queries)), slice(start, min(start + step, rows))


def ranks_of(
    queries: np.ndarray, vectors: np.ndarray, right: Sequence[np.ndarray], left_out: np.ndarray | None = None
) -> list[np.ndarray]:
    """Ranks of each query's right answers among all vectors.

    Args:
        queries: float32[q, dim], unit length.
        vectors: float32[n, dim], unit length; may be memory-mapped.
        right: for each query the rows of its right answers, at least one.
        left_out: int64[q], a row for each query that is no candidate (itself, in a leave-one-out search).

    Returns:
        For each query int64[R], ascending from 1. Of equal scores the wrong answers come first.
    """
    own = [np.sort(scores_of(query[None], vectors[rows])[0]) for query, rows in zip(queries, right, strict=True)]
    above = [np.zeros(scores.size, np.int64) for scores in own]  # wrong answers not below each right one
    for asked, rows in slices(len(queries), len(vectors)):
        scores = scores_of(queries[asked], vectors[rows])
        for number, line in enumerate(scores, asked.start):
            skipped = right[number] if left_out is None else np.append(right[number], left_out[number])
            here = skipped[(skipped >= rows.start) & (skipped < rows.stop)] - rows.start
            line[here] = -np.inf
            # A wrong answer is above, or level with, this many of the right ones, the lowest first.
            beaten = np.bincount(np.searchsorted(own[number], line, "right"), minlength=own[number].size + 1)
            above[number] += beaten[::-1].cumsum()[::-1][1:]
    return [counts[::-1] + np.arange(1, counts.size + 1) for counts in above]


def top(
    queries: np.ndarray, vectors: np.ndarray, k: int, left_out: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k best rows for each query, of equal scores the earlier row first.

    Returns:
        int64[q, k] rows and float32[q, k] scores, best first; k is at most the number of candidates.
    """
    k = min(k, len(vectors) - (left_out is not None))
    best_rows = np.empty((len(queries), 0), np.int64)
    best_scores = np.empty((len(queries), 0), np.float32)
    step = max(k, _SCORES_AT_ONCE // max(1, len(queries)))
    for start in range(0, len(vectors), step):
        rows = np.arange(start, min(start + step, len(vectors)))
        scores = scores_of(queries, vectors[rows[0] : rows[-1] + 1])
        if left_out is not None:
            for number in np.flatnonzero((left_out >= rows[0]) & (left_out <= rows[-1])):
                scores[number, left_out[number] - start] = -np.inf
        scores = np.hstack([best_scores, scores])
        known = np.hstack([best_rows, np.broadcast_to(rows, (len(queries), rows.size))])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best_scores = np.take_along_axis(scores, order, 1)
        best_rows = np.take_along_axis(known, order, 1)
    return best_rows, best_scores
