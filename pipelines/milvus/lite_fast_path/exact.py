"""Exact search of Milvus Lite's IVF_FLAT indexes of one list, in blocks of rows that several threads share.

faiss compares such a list with one query after the other, and reads all vectors for each of them. Here many queries are
compared by one matrix product, and few by `codes` of a quarter of the size, and by the vectors of the rows that these
name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import faiss
import numpy as np

_BLOCK_ROWS = 32_768
# A matrix product of fewer queries takes longer than one comparison after the other: of vectors, and of codes.
LEAST_QUERIES, LEAST_BESIDE_CODES = 7, 20
# Codes are made behind so many searches: a process that ends after one or two has no use for them.
SEARCHES_WITHOUT_CODES = 4
_LARGEST = 127  # of an int8, as codes are
# What rounding adds to the product of two vectors of length 1 and 1,024 float32.
_ROUNDING = 1e-5

Nearest = tuple[np.ndarray, np.ndarray]  # rows, int64[n, top_k], -1 behind the last one, and distances, float32

_making_codes = threading.Lock()  # of one index after the other: searches need the cores


class Codes:
    """One byte for each number of float32[rows, dim], whose rows have length 1.

    A vector is `mean + step * code + step * rest`, number by number, and a query `q` times `step` is
    `scale * rounded + other`, with code and rounded of int8. So the product of the two is
    `q·mean + scale * rounded·code` up to `|q * step| |rest| + |other| |code|` (Cauchy-Schwarz), which is about 0.02.
    Rows whose products can be among the largest are compared by their vectors.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        self._vectors, self._mean = vectors, vectors.mean(axis=0)
        rest = vectors - self._mean
        largest = np.maximum(rest.max(axis=0), -rest.min(axis=0))
        self._step = np.maximum(largest / _LARGEST, np.finfo(np.float32).tiny)
        rest /= self._step
        codes = np.rint(rest)
        rest -= codes
        self._longest_rest, self._longest_code = _longest(rest), _longest(codes)
        kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
        self._index = faiss.IndexScalarQuantizer(vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        self._index.add(codes)

    def search(self, queries: np.ndarray, top_k: int, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compare the `most` rows that seem nearest to each query: float32[n, dim] of length 1.

        Returns:
            Rows, int64[n, top_k], their products, largest first, and whether they are certainly the nearest, bool[n].
        """
        weighted = queries * self._step
        scale = np.maximum(np.abs(weighted).max(axis=1, keepdims=True) / _LARGEST, np.finfo(np.float32).tiny)
        rounded = np.rint(weighted / scale)
        products, rows = self._index.search(rounded, most)
        error = _length(weighted) * self._longest_rest + _length(weighted - scale * rounded) * self._longest_code
        others = products[:, -1] * scale[:, 0] + queries @ self._mean + error + _ROUNDING  # none of them has more
        scores = (self._vectors[rows] @ queries[:, :, None])[:, :, 0]
        order = np.lexsort((rows, -scores))[:, :top_k]
        best = np.take_along_axis(scores, order, axis=1)
        return np.take_along_axis(rows, order, axis=1), best, best[:, -1] > others


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(vectors, axis=1))


def _longest(vectors: np.ndarray) -> float:
    return float(np.sqrt(np.einsum("nd,nd->n", vectors, vectors).max()))


class Block:
    """Some rows of an index, from row `first` on: float32[rows, dim], which have length 1 if the metric is COSINE."""

    def __init__(self, index: Any, vectors: np.ndarray, first: int) -> None:
        self._index = index  # owns the vectors
        self._vectors, self._first, self._metric = vectors, first, index.metric
        self._codes: Codes | None = None

    def make_codes(self) -> None:
        """Let searches for few queries read a quarter of the bytes."""
        if self._metric == "COSINE":
            self._codes = Codes(self._vectors)

    def search(self, queries: np.ndarray, top_k: int, mask: np.ndarray | None) -> Nearest:
        """The block's nearest rows to each query, of those that a mask of the index's rows leaves."""
        if mask is not None:
            mask = mask[self._first : self._first + len(self._vectors)]
        rows, scores = self._largest(queries, top_k, mask)
        distances = 1.0 - scores if self._metric == "COSINE" else -scores
        return np.where(rows < 0, -1, rows + self._first), np.where(rows < 0, np.inf, distances)

    def _largest(self, queries: np.ndarray, top_k: int, mask: np.ndarray | None) -> Nearest:
        """Rows of the block and their products with the queries, largest first."""
        most = 4 * top_k + 64
        is_long = 4 * most > len(self._vectors) or len(queries) >= LEAST_BESIDE_CODES
        if self._codes is None or mask is not None or is_long:
            return compare(self._vectors, queries, top_k, mask)
        rows, scores, certain = self._codes.search(queries, top_k, most)
        if not certain.all():
            rows[~certain], scores[~certain] = compare(self._vectors, queries[~certain], top_k, mask)
        return rows, scores


def compare(vectors: np.ndarray, queries: np.ndarray, top_k: int, mask: np.ndarray | None) -> Nearest:
    """The rows of a mask with the largest products with each query, and these."""
    # From so many numbers on faiss multiplies matrices: by the thread that asks, if that is to have no others. NumPy's
    # products wait for each other's threads.
    faiss.cvar.distance_compute_blas_threshold = LEAST_QUERIES * vectors.shape[1]
    chosen = None if mask is None else np.flatnonzero(mask)
    compared = vectors if chosen is None else vectors[chosen]
    scores, rows = faiss.knn(queries, compared, top_k, metric=faiss.METRIC_INNER_PRODUCT)
    return (rows if chosen is None else np.append(chosen, -1)[rows]), scores


class Exact:
    """An index that is searched here."""

    def __init__(self, index: Any) -> None:
        codes = faiss.rev_swig_ptr(index._index.invlists.get_codes(0), index.num_vectors * index.dim * 4)
        parts = np.array_split(codes.view(np.float32).reshape(-1, index.dim), -(-index.num_vectors // _BLOCK_ROWS))
        firsts = np.cumsum([0, *map(len, parts)]).tolist()
        self._blocks = [Block(index, part, first) for part, first in zip(parts, firsts, strict=False)]
        self._metric, self._searches = index.metric, 0

    @classmethod
    def of(cls, index: Any) -> Exact | None:
        """Return None for an index of another kind."""
        is_exact = getattr(index, "index_type", "") == "IVF_FLAT" and index._index.nlist == 1 and index.metric != "L2"
        return cls(index) if is_exact and index.num_vectors else None

    def searches(self, queries: np.ndarray, top_k: int, mask: np.ndarray | None) -> list[Callable[[], Nearest]]:
        """What finds the nearest rows of each part, of those that a mask leaves, for float32[n, dim]."""
        self._searches += 1
        if self._searches == SEARCHES_WITHOUT_CODES:
            threading.Thread(target=self.make_codes, name="codes", daemon=True).start()
        if self._metric == "COSINE":
            lengths = np.linalg.norm(queries, axis=1, keepdims=True)
            queries = queries / np.where(lengths == 0, 1.0, lengths)
        queries = np.ascontiguousarray(queries, np.float32)
        return [partial(block.search, queries, top_k, mask) for block in self._blocks]

    def make_codes(self) -> None:
        """Make the codes of all blocks."""
        for block in self._blocks:
            with _making_codes:
                block.make_codes()
