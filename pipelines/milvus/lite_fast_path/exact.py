"""Exact search of Milvus Lite's IVF_FLAT indexes of one list, in blocks of rows that several threads share.

faiss compares such a list with one query after the other, and reads all vectors for each of them. Here many queries are
compared by one matrix product, or by `codes` of a quarter of the size and the vectors of the rows that these name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import faiss
import numpy as np

from .codes import Codes

_BLOCK_ROWS = 32_768
# A matrix product of fewer queries takes longer than one comparison after the other.
LEAST_QUERIES = 7
# Codes are made behind so many searches: a process that ends after one or two has no use for them.
SEARCHES_WITHOUT_CODES = 4

Nearest = tuple[np.ndarray, np.ndarray]  # rows, int64[n, top_k], -1 behind the last one, and distances, float32

_making_codes = threading.Lock()  # of one index after the other: searches need the cores


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

    @property
    def takes_masks(self) -> bool:
        """Whether codes compare the rows of a mask: faiss does so more slowly."""
        return self._codes is not None and self._codes.takes_masks

    def search(self, queries: np.ndarray, top_k: int, mask: np.ndarray | None, floor: np.ndarray) -> Nearest:
        """The block's nearest rows to each query, of those that a mask of the index's rows leaves.

        Those that other blocks leave no place among the `top_k` nearest may be missing; see `Codes.search` for `floor`.
        """
        if mask is not None:
            mask = mask[self._first : self._first + len(self._vectors)]
        rows, scores = self._largest(queries, top_k, mask, floor)
        distances = 1.0 - scores if self._metric == "COSINE" else -scores
        return np.where(rows < 0, -1, rows + self._first), np.where(rows < 0, np.inf, distances)

    def _largest(self, queries: np.ndarray, top_k: int, mask: np.ndarray | None, floor: np.ndarray) -> Nearest:
        """Rows of the block and their products with the queries, largest first."""
        most = 4 * top_k + 64
        if self._codes is None or not self._codes.takes(len(queries), most, mask):
            return compare(self._vectors, queries, top_k, mask)
        rows, scores, certain = self._codes.search(queries, top_k, most, floor, mask)
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

    @property
    def takes_masks(self) -> bool:
        """Whether all blocks do."""
        return all(block.takes_masks for block in self._blocks)

    def searches(
        self, queries: np.ndarray, top_k: int, mask: np.ndarray | None, floor: np.ndarray
    ) -> list[Callable[[], Nearest]]:
        """What finds the nearest rows of each part, of those that a mask leaves, for float32[n, dim].

        Args:
            floor: float32[n], which all parts that are searched together share: -inf at first.
        """
        self._searches += 1
        if self._searches == SEARCHES_WITHOUT_CODES:
            threading.Thread(target=self.make_codes, name="codes", daemon=True).start()
        if self._metric == "COSINE":
            lengths = np.linalg.norm(queries, axis=1, keepdims=True)
            queries = queries / np.where(lengths == 0, 1.0, lengths)
        queries = np.ascontiguousarray(queries, np.float32)
        return [partial(block.search, queries, top_k, mask, floor) for block in self._blocks]

    def make_codes(self) -> None:
        """Make the codes of all blocks."""
        for block in self._blocks:
            with _making_codes:
                block.make_codes()
