"""Exact search of Milvus Lite's IVF_FLAT indexes with one list, in blocks of rows that several threads share.

faiss compares such a list with one query at a time, and reads all vectors for each query. Here one matrix product
compares many queries at once, or `codes` of a quarter of the size select the rows whose vectors are then compared.
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
# Minimum number of queries for a matrix product. Fewer queries are faster one at a time.
LEAST_QUERIES = 7
# The search, counted from 1, that starts to compute codes. A process that ends after one or two has no use for them.
SEARCHES_WITHOUT_CODES = 4

Nearest = tuple[np.ndarray, np.ndarray]  # rows, int64[n, top_k], -1 after the last one, and distances, float32

_making_codes = threading.Lock()  # one block at a time: searches need the cores


class Block:
    """The rows of an index that start at row `first`: float32[rows, dim], of length 1 if the metric type is COSINE."""

    def __init__(self, index: Any, vectors: np.ndarray, first: int) -> None:
        self._index = index  # owns the vectors
        self._vectors, self._first, self._metric = vectors, first, index.metric
        self._codes: Codes | None = None

    def make_codes(self) -> None:
        """Compute codes, with which searches for few queries read a quarter of the bytes. Only for COSINE."""
        if self._metric == "COSINE":
            self._codes = Codes(self._vectors)

    @property
    def takes_masks(self) -> bool:
        """Whether the codes can restrict a search to the rows of a mask, which is faster than faiss."""
        return self._codes is not None and self._codes.takes_masks

    def search(self, queries: np.ndarray, top_k: int, mask: np.ndarray | None, floor: np.ndarray) -> Nearest:
        """Return the block's nearest rows to each query, among those that a mask over the index's rows selects.

        Rows may be missing if other blocks have `top_k` nearer ones; see `Codes.search` for `floor`.
        """
        if mask is not None:
            mask = mask[self._first : self._first + len(self._vectors)]
        rows, scores = self._largest(queries, top_k, mask, floor)
        distances = 1.0 - scores if self._metric == "COSINE" else -scores
        return np.where(rows < 0, -1, rows + self._first), np.where(rows < 0, np.inf, distances)

    def _largest(self, queries: np.ndarray, top_k: int, mask: np.ndarray | None, floor: np.ndarray) -> Nearest:
        """Return rows of the block and their products with the queries, largest first."""
        most = 4 * top_k + 64
        if self._codes is None or not self._codes.takes(len(queries), most, mask):
            return compare(self._vectors, queries, top_k, mask)
        rows, scores, certain = self._codes.search(queries, top_k, most, floor, mask)
        if not certain.all():
            rows[~certain], scores[~certain] = compare(self._vectors, queries[~certain], top_k, mask)
        return rows, scores


def compare(vectors: np.ndarray, queries: np.ndarray, top_k: int, mask: np.ndarray | None) -> Nearest:
    """Return the rows of a mask that have the largest products with each query, and these products."""
    # faiss uses a matrix product if the queries have at least this many values in total. The calling thread computes it
    # alone if it is limited to one thread. NumPy's matrix products would wait for each other's threads.
    faiss.cvar.distance_compute_blas_threshold = LEAST_QUERIES * vectors.shape[1]
    chosen = None if mask is None else np.flatnonzero(mask)
    compared = vectors if chosen is None else vectors[chosen]
    scores, rows = faiss.knn(queries, compared, top_k, metric=faiss.METRIC_INNER_PRODUCT)
    return (rows if chosen is None else np.append(chosen, -1)[rows]), scores


class Exact:
    """Exact search of one index."""

    def __init__(self, index: Any) -> None:
        codes = faiss.rev_swig_ptr(index._index.invlists.get_codes(0), index.num_vectors * index.dim * 4)
        parts = np.array_split(codes.view(np.float32).reshape(-1, index.dim), -(-index.num_vectors // _BLOCK_ROWS))
        firsts = np.cumsum([0, *map(len, parts)]).tolist()
        self._blocks = [Block(index, part, first) for part, first in zip(parts, firsts, strict=False)]
        self._metric, self._searches = index.metric, 0

    @classmethod
    def of(cls, index: Any) -> Exact | None:
        """Return the exact search of an index; None if the index is empty or of another kind."""
        is_exact = getattr(index, "index_type", "") == "IVF_FLAT" and index._index.nlist == 1 and index.metric != "L2"
        return cls(index) if is_exact and index.num_vectors else None

    @property
    def takes_masks(self) -> bool:
        """Whether the codes of all blocks can restrict a search to the rows of a mask."""
        return all(block.takes_masks for block in self._blocks)

    def searches(
        self, queries: np.ndarray, top_k: int, mask: np.ndarray | None, floor: np.ndarray
    ) -> list[Callable[[], Nearest]]:
        """Return one search per block for the rows nearest to float32[n, dim], among those that a mask selects.

        Args:
            floor: float32[n], shared by all searches of one request; -inf at first.
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
        """Compute the codes of all blocks."""
        for block in self._blocks:
            with _making_codes:
                block.make_codes()
