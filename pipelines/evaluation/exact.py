"""Exact search over a collection's embeddings, copied to a file: the reference for rankings and for the index."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..fields import EMBEDDING, ID, PATH
from ..milvus.collection import Collection
from .prompts import unit

# Maximum number of scores in memory: 64 MB of float32, whatever the size of the collection.
_SCORES_AT_ONCE = 16_000_000
_MAX_QUERIES = 1024
# Number of vectors multiplied at once: their float64 copy and its scores take less memory than the scores above.
_ROWS_AT_ONCE = 4096
# Decimals of a score. A product of float32 vectors is exact to about 1e-7; scores that round alike are equal.
DECIMALS = 6


@dataclass(frozen=True)
class EmbeddingTable:
    """The rows of a collection in ascending order of their id.

    ids: int64[n].
    paths: where each image is read from.
    labels: the stored label of each image, '' for none.
    vectors: float32[n, dim] of unit length, memory-mapped: a slice is read on use.
    """

    ids: np.ndarray
    paths: list[str]
    labels: list[str]
    vectors: np.ndarray

    @cached_property
    def row_of(self) -> dict[int, int]:
        """Row of each id."""
        return {key: row for row, key in enumerate(self.ids.tolist())}

    @cached_property
    def names(self) -> list[str]:
        """The path of each image relative to the folder that all local images share; a URL without its query.

        A report shows these names, so that it does not reveal where its author keeps files.
        """
        folders = [os.path.dirname(path) for path in self.paths if "://" not in path]
        try:
            shared = os.path.commonpath(folders) if folders else ""
        except ValueError:  # two drives, or a relative path beside an absolute one
            shared = ""
        return [_name(path, shared) for path in self.paths]


def _name(path: str, shared: str) -> str:
    if "://" in path:
        return path.partition("?")[0]
    if os.path.dirname(shared) == shared:  # only the root of the disk is shared
        return os.path.basename(path)
    return os.path.relpath(path, shared)


def read_table(
    collection: Collection, folder: Path, label_field: str, on_progress: Callable[[int, int, str], object]
) -> EmbeddingTable:
    """Copy the vectors of a collection into a file in `folder`, with a few thousand rows in memory at a time.

    Args:
        label_field: the field that holds the label; '' reads no labels.
        on_progress: called with the number of rows read, their total and a caption.
    """
    total, dim = collection.count(), collection.dim()
    vectors = np.memmap(folder / "vectors.f32", np.float32, "w+", shape=(total, dim))
    ids: list[int] = []
    paths: list[str] = []
    labels: list[str] = []
    for rows in collection.scan("", [PATH, EMBEDDING, *([label_field] if label_field else [])]):
        rows = rows[: total - len(ids)]  # another process may be inserting
        vectors[len(ids) : len(ids) + len(rows)] = unit(np.array([row[EMBEDDING] for row in rows], np.float32))
        ids += [int(row[ID]) for row in rows]
        paths += [row[PATH] for row in rows]
        values = [row[label_field] if label_field else None for row in rows]
        labels += ["" if value is None else str(value).strip() for value in values]
        on_progress(len(ids), total, "reading vectors")
    return EmbeddingTable(np.array(ids, np.int64), paths, labels, vectors[: len(ids)])


def scores_of(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the cosines of unit vectors, float32[q, n], rounded to `DECIMALS`.

    The product is computed in float64. In float32 its last bit depends on the position of a vector among the others,
    so equal vectors could get different scores.
    """
    wide = queries.astype(np.float64)
    scores = np.empty((len(queries), len(vectors)), np.float32)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        products = wide @ vectors[part].T.astype(np.float64)
        scores[:, part] = np.round(products, DECIMALS, out=products)
    return scores


def _slices(queries: int, rows: int) -> Iterator[tuple[slice, slice]]:
    """Yield pairs of slices, of queries and of rows, that cover all of both and limit the scores in memory."""
    step = max(1, _SCORES_AT_ONCE // max(1, min(queries, _MAX_QUERIES)))
    for first in range(0, queries, _MAX_QUERIES):
        for start in range(0, rows, step):
            yield slice(first, min(first + _MAX_QUERIES, queries)), slice(start, min(start + step, rows))


def ranks_of(
    queries: np.ndarray, vectors: np.ndarray, relevant: Sequence[np.ndarray], excluded: np.ndarray | None = None
) -> list[np.ndarray]:
    """Return the ranks of each query's relevant rows among all vectors.

    Args:
        queries: float32[q, dim], unit length.
        vectors: float32[n, dim], unit length; may be memory-mapped.
        relevant: for each query the relevant rows, at least one.
        excluded: int64[q], for each query a row that is not a candidate (itself, in a leave-one-out search).

    Returns:
        For each query int64[R], ascending from 1. Among equal scores the rows that are not relevant come first.
    """
    own = [np.sort(scores_of(query[None], vectors[rows])[0]) for query, rows in zip(queries, relevant, strict=True)]
    above = [np.zeros(scores.size, np.int64) for scores in own]  # other rows that score at least as high
    for asked, rows in _slices(len(queries), len(vectors)):
        scores = scores_of(queries[asked], vectors[rows])
        for number, line in enumerate(scores, asked.start):
            skipped = relevant[number] if excluded is None else np.append(relevant[number], excluded[number])
            here = skipped[(skipped >= rows.start) & (skipped < rows.stop)] - rows.start
            line[here] = -np.inf
            # The score of each other row is at least that of this many relevant rows, counted from the lowest.
            beaten = np.bincount(np.searchsorted(own[number], line, "right"), minlength=own[number].size + 1)
            above[number] += beaten[::-1].cumsum()[::-1][1:]
    return [counts[::-1] + np.arange(1, counts.size + 1) for counts in above]


def top_k(
    queries: np.ndarray, vectors: np.ndarray, k: int, excluded: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k nearest rows for each query; among equal scores the earlier row comes first.

    Returns:
        int64[q, k] rows and float32[q, k] scores, best first; k is at most the number of candidates.
    """
    k = min(k, len(vectors) - (excluded is not None))
    best_rows = np.empty((len(queries), 0), np.int64)
    best_scores = np.empty((len(queries), 0), np.float32)
    step = max(k, _SCORES_AT_ONCE // max(1, len(queries)))
    for start in range(0, len(vectors), step):
        rows = np.arange(start, min(start + step, len(vectors)))
        scores = scores_of(queries, vectors[rows[0] : rows[-1] + 1])
        if excluded is not None:
            for number in np.flatnonzero((excluded >= rows[0]) & (excluded <= rows[-1])):
                scores[number, excluded[number] - start] = -np.inf
        scores = np.hstack([best_scores, scores])
        known = np.hstack([best_rows, np.broadcast_to(rows, (len(queries), rows.size))])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best_scores = np.take_along_axis(scores, order, 1)
        best_rows = np.take_along_axis(known, order, 1)
    return best_rows, best_scores
