"""One byte for each number of a block's vectors: they name the rows that are worth comparing.

A search for one embedding takes as long as reading what it compares, so a quarter of the bytes take a quarter of the
time. Of many embeddings a processor with AVX512-VNNI multiplies matrices of bytes, five times as fast as floats.
"""

from __future__ import annotations

import threading
from typing import NamedTuple, Protocol

import faiss
import numpy as np
from numpy._core._multiarray_umath import __cpu_features__

# PyTorch multiplies bytes elsewhere, too, but one after the other.
HAS_VNNI: bool = __cpu_features__.get("AVX512VNNI", False)
# faiss compares one embedding after the other. Of more, a matrix product of floats is sooner done.
_MOST_BY_FAISS, _MOST_BY_VNNI = 19, 256
_LARGEST = 127  # of an int8, as codes are
# What rounding adds to the product of two vectors of length 1 and 1,024 float32.
_ROUNDING = 1e-5
# Rows are compared in groups first: the largest of each says which product the best rows have at least.
_GROUP = 16
# Codes are made of so many rows at once: of all of a block the heap would keep 450 MB behind a million rows.
_ROWS_AT_ONCE = 1_024
_NO_ROW = np.iinfo(np.int32).min

_own = threading.local()


class Candidates(NamedTuple):
    """Pairs of a query and a row, by query, their products, and one for each query that no other row exceeds."""

    queries: np.ndarray  # int64[pairs]
    rows: np.ndarray  # int64[pairs]
    products: np.ndarray  # float32[pairs]
    others: np.ndarray  # float32[n]


class Products(Protocol):
    """Finds the rows whose codes have the largest products with queries."""

    most_queries: int
    rows_each: int  # for each candidate, the least rows of a block
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
        largest = np.maximum(vectors.max(axis=0) - self._mean, self._mean - vectors.min(axis=0))
        self._step = np.maximum(largest / _LARGEST, np.finfo(np.float32).tiny)
        self._longest_rest = self._longest_code = 0.0
        codes = np.empty(vectors.shape, np.int8)
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            rest = (vectors[start : start + _ROWS_AT_ONCE] - self._mean) / self._step
            rounded = np.rint(rest)
            codes[start : start + _ROWS_AT_ONCE] = rounded
            self._longest_code = max(self._longest_code, _longest(rounded))
            self._longest_rest = max(self._longest_rest, _longest(rest - rounded))
        self._products: Products = VnniProducts(codes) if has_vnni else FaissProducts(codes)

    @property
    def takes_masks(self) -> bool:
        """Whether `search` can take a mask."""
        return self._products.takes_masks

    def takes(self, queries: int, most: int, mask: np.ndarray | None) -> bool:
        """Whether codes are the quickest for so many queries, rows of each, and the rows of a mask."""
        rows = len(self._vectors)
        if mask is not None:
            rows = int(mask.sum()) if self.takes_masks else 0
        return queries <= self._products.most_queries and most * self._products.rows_each <= rows

    def search(
        self, queries: np.ndarray, top_k: int, most: int, floor: np.ndarray, mask: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compare the `most` rows that seem nearest to each query: float32[n, dim] of length 1.

        Args:
            floor: float32[n], a product that `top_k` rows of any block reach; rows that do not are left out. Raised.

        Returns:
            Rows, int64[n, top_k], -1 behind the last one, their products, largest first, and whether no others of this
            block are among the nearest ones of all, bool[n].
        """
        weighted = queries * self._step
        scale = np.maximum(np.abs(weighted).max(axis=1) / _LARGEST, np.finfo(np.float32).tiny)
        rounded = np.rint(weighted / scale[:, None])
        found = self._products.candidates(rounded, most, mask)
        if found is None:
            shape = len(queries), top_k
            return np.full(shape, -1), np.full(shape, -np.inf, np.float32), np.zeros(len(queries), bool)
        error = _length(weighted) * self._longest_rest + _ROUNDING
        error += _length(weighted - scale[:, None] * rounded) * self._longest_code
        above = queries @ self._mean + error
        reach = found.products * scale[found.queries] + above[found.queries] >= floor[found.queries]
        rows, scores = _best(self._vectors, queries, found.queries[reach], found.rows[reach], top_k)
        np.maximum(floor, scores[:, -1], out=floor)
        return rows, scores, floor > found.others * scale + above


def _best(
    vectors: np.ndarray, queries: np.ndarray, numbers: np.ndarray, rows: np.ndarray, top_k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Compare pairs of a query and a row, by query; return the best rows, int64[n, top_k], and their products."""
    scores = np.einsum("nd,nd->n", vectors[rows], queries[numbers])
    order = np.append(np.lexsort((rows, -scores, numbers)), len(rows))
    starts, ends = np.searchsorted(numbers, [np.arange(len(queries)), np.arange(1, len(queries) + 1)])
    places = starts[:, None] + np.arange(top_k)
    best = order[np.where(places < ends[:, None], places, len(rows))]
    return np.append(rows, -1)[best], np.append(scores, np.float32(-np.inf))[best]


class FaissProducts:
    """By faiss, on every processor."""

    most_queries, rows_each, takes_masks = _MOST_BY_FAISS, 4, False

    def __init__(self, codes: np.ndarray) -> None:
        kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
        self._index = faiss.IndexScalarQuantizer(codes.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        for start in range(0, len(codes), _ROWS_AT_ONCE):
            self._index.add(codes[start : start + _ROWS_AT_ONCE].astype(np.float32))

    def candidates(self, queries: np.ndarray, most: int, mask: np.ndarray | None) -> Candidates:
        """See Products."""
        products, rows = self._index.search(queries, most)
        numbers = np.repeat(np.arange(len(queries)), most)
        return Candidates(numbers, rows.ravel(), products.ravel(), products[:, -1])


class VnniProducts:
    """By matrix products of bytes, as PyTorch computes them on a processor with AVX512-VNNI."""

    most_queries, rows_each, takes_masks = _MOST_BY_VNNI, _GROUP, True

    def __init__(self, codes: np.ndarray) -> None:
        import torch  # a second, and 180 MB: behind the first searches

        self._codes = torch.from_numpy(codes).T

    def candidates(self, queries: np.ndarray, most: int, mask: np.ndarray | None) -> Candidates | None:
        """See Products."""
        import torch

        _compute_alone()
        products = torch._int_mm(torch.from_numpy(queries.astype(np.int8)), self._codes).numpy()
        if mask is not None:
            products[:, ~mask] = _NO_ROW
        if missing := -products.shape[1] % _GROUP:
            products = np.pad(products, ((0, 0), (0, missing)), constant_values=_NO_ROW)
        return _candidates(products.reshape(len(queries), _GROUP, -1), most)


def _compute_alone() -> None:
    """Let PyTorch compute with this thread alone, for good. Other threads keep the number that they have, or get."""
    if getattr(_own, "is_alone", False):
        return
    import torch

    usual = torch.get_num_threads()
    torch.set_num_threads(1)  # for this thread, and for those that start later
    again = threading.Thread(target=torch.set_num_threads, args=[usual])
    again.start()
    again.join()
    _own.is_alone = True


def _candidates(groups: np.ndarray, most: int) -> Candidates | None:
    """int32[n, rows of a group, groups] → rows with the `most` largest products, or a few more; None for far more.

    At least `most` groups have a row, so that none of the rows is _NO_ROW: see `rows_each`.
    """
    maxima = groups.max(axis=1)
    least = np.partition(maxima, -most, axis=1)[:, -most]
    numbers, places = np.nonzero(maxima >= least[:, None])
    if len(numbers) > 4 * most * len(groups):
        return None
    products = groups[numbers, :, places]
    pairs, members = np.nonzero(products >= least[numbers, None])
    rows = members * groups.shape[2] + places[pairs]
    return Candidates(numbers[pairs], rows, products[pairs, members].astype(np.float32), least.astype(np.float32))


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(vectors, axis=1))


def _longest(vectors: np.ndarray) -> float:
    return float(np.sqrt(np.einsum("nd,nd->n", vectors, vectors).max()))
