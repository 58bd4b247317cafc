"""One byte for each number of a block's vectors: they name the rows that are worth comparing.

A search for one embedding takes as long as reading what it compares, so a quarter of the bytes take a quarter of the
time. Of many embeddings a processor with AVX512-VNNI multiplies matrices of bytes, five times as fast as floats.
"""

from __future__ import annotations

import threading
from importlib.util import find_spec
from typing import NamedTuple, Protocol

import faiss
import numpy as np
from numpy._core._multiarray_umath import __cpu_features__

# OpenVINO adds bytes exactly only there.
HAS_VNNI: bool = __cpu_features__.get("AVX512VNNI", False) and find_spec("openvino") is not None
# faiss compares one embedding after the other. Of more, a matrix product of floats is sooner done.
_MOST_BY_FAISS, _MOST_BY_VNNI = 19, 256
_LARGEST = 127  # of an int8, as codes are
# What rounding adds to the product of two vectors of length 1 and 1,024 float32.
_ROUNDING = 1e-5
# Rows are compared in groups first: the largest of each says which product the best rows have at least.
_GROUP = 16


class Candidates(NamedTuple):
    """Pairs of a query and a row, by query, and a product for each query that no other row exceeds."""

    queries: np.ndarray  # int64[pairs]
    rows: np.ndarray  # int64[pairs]
    others: np.ndarray  # float32[n]


class Products(Protocol):
    """Finds the rows whose codes have the largest products with queries."""

    most_queries: int
    rows_each: int  # a block has at least so many rows for each of those that are wanted
    takes_masks: bool

    def candidates(self, queries: np.ndarray, most: int, mask: np.ndarray | None) -> Candidates | None:
        """float32[n, dim] of whole numbers → at least `most` rows for each; None if they would be far more."""
        ...


class Codes:
    """Codes of float32[rows, dim], whose rows have length 1.

    A vector is `mean + step * code + step * rest`, number by number, and a query `q` times `step` is
    `scale * rounded + other`, with code and rounded of int8. So the product of the two is
    `q·mean + scale * rounded·code` up to `|q * step| |rest| + |other| |code|` (Cauchy-Schwarz), which is about 0.02.
    Rows whose products can be among the largest are compared by their vectors.
    """

    def __init__(self, vectors: np.ndarray, has_vnni: bool = HAS_VNNI) -> None:
        self._vectors, self._mean = vectors, vectors.mean(axis=0)
        rest = vectors - self._mean
        largest = np.maximum(rest.max(axis=0), -rest.min(axis=0))
        self._step = np.maximum(largest / _LARGEST, np.finfo(np.float32).tiny)
        rest /= self._step
        codes = np.rint(rest)
        rest -= codes
        self._longest_rest, self._longest_code = _longest(rest), _longest(codes)
        self._products: Products = VnniProducts(codes) if has_vnni else FaissProducts(codes)

    def takes(self, queries: int, most: int, mask: np.ndarray | None) -> bool:
        """Whether codes are the quickest for so many queries, rows of each, and the rows of a mask."""
        rows = len(self._vectors)
        if mask is not None:
            rows = int(mask.sum()) if self._products.takes_masks else 0
        return queries <= self._products.most_queries and most * self._products.rows_each <= rows

    def search(
        self, queries: np.ndarray, top_k: int, most: int, mask: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compare the `most` rows that seem nearest to each query: float32[n, dim] of length 1.

        Returns:
            Rows, int64[n, top_k], their products, largest first, and whether they are certainly the nearest, bool[n].
        """
        weighted = queries * self._step
        scale = np.maximum(np.abs(weighted).max(axis=1) / _LARGEST, np.finfo(np.float32).tiny)
        rounded = np.rint(weighted / scale[:, None])
        found = self._products.candidates(rounded, most, mask)
        if found is None:
            shape = len(queries), top_k
            return np.zeros(shape, np.int64), np.zeros(shape, np.float32), np.zeros(len(queries), bool)
        scores = np.einsum("nd,nd->n", self._vectors[found.rows], queries[found.queries])
        order = np.lexsort((found.rows, -scores, found.queries))
        starts = np.searchsorted(found.queries, np.arange(len(queries)))
        best = order[starts[:, None] + np.arange(top_k)]
        error = _length(weighted) * self._longest_rest
        error += _length(weighted - scale[:, None] * rounded) * self._longest_code
        others = found.others * scale + queries @ self._mean + error + _ROUNDING  # none of them has more
        return found.rows[best], scores[best], scores[best[:, -1]] > others


class FaissProducts:
    """By faiss, on every processor."""

    most_queries, rows_each, takes_masks = _MOST_BY_FAISS, 4, False

    def __init__(self, codes: np.ndarray) -> None:
        kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
        self._index = faiss.IndexScalarQuantizer(codes.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        self._index.add(codes)

    def candidates(self, queries: np.ndarray, most: int, mask: np.ndarray | None) -> Candidates:
        """See Products."""
        products, rows = self._index.search(queries, most)
        return Candidates(np.repeat(np.arange(len(queries)), most), rows.ravel(), products[:, -1])


class VnniProducts:
    """By matrix products of bytes, as OpenVINO computes them on a processor with AVX512-VNNI. Threads can share it."""

    most_queries, rows_each, takes_masks = _MOST_BY_VNNI, _GROUP, True

    def __init__(self, codes: np.ndarray) -> None:
        from ...openvino_import import openvino

        op, width, most = openvino.opset13, codes.shape[1], np.float32(_LARGEST)
        asked = op.parameter([-1, width], np.float32)
        bytes_asked = op.fake_quantize(asked, -most, most, -most, most, 2 * _LARGEST + 1)  # whole numbers stay
        known = op.multiply(op.convert(op.constant(codes.astype(np.int8)), np.float32), op.constant(np.float32(1)))
        model = openvino.Model([op.matmul(bytes_asked, known, False, True)], [asked])
        # One thread: each block of rows has its own.
        compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1})
        self._request, self._lock = compiled.create_infer_request(), threading.Lock()

    def candidates(self, queries: np.ndarray, most: int, mask: np.ndarray | None) -> Candidates | None:
        """See Products."""
        with self._lock:  # the next products take the place of these
            products = self._request.infer([queries], share_inputs=True, share_outputs=True)[0]
            if mask is not None:
                products = np.where(mask, products, -np.inf)
            missing = -products.shape[1] % _GROUP
            if missing:
                products = np.pad(products, ((0, 0), (0, missing)), constant_values=-np.inf)
            return _largest(products.reshape(len(queries), _GROUP, -1), most)


def _largest(groups: np.ndarray, most: int) -> Candidates | None:
    """float32[n, rows of a group, groups] → the rows of the groups with the `most` largest products, or a few more."""
    maxima = groups.max(axis=1)
    least = np.partition(maxima, -most, axis=1)[:, -most]
    numbers, places = np.nonzero(maxima >= least[:, None])
    if len(numbers) > 4 * most * len(groups):
        return None
    pairs, members = np.nonzero(groups[numbers, :, places] >= least[numbers, None])
    return Candidates(numbers[pairs], members * groups.shape[2] + places[pairs], least)


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(vectors, axis=1))


def _longest(vectors: np.ndarray) -> float:
    return float(np.sqrt(np.einsum("nd,nd->n", vectors, vectors).max()))
