"""Vectors in a quarter of their bytes, which tell the rows that can be nearest to a query."""

from __future__ import annotations

import faiss
import numpy as np

_LARGEST = 127  # of an int8
# What rounding adds to the product of two vectors of length 1 and 1,024 float32.
_ROUNDING = 1e-5


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
