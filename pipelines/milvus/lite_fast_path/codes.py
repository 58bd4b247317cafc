"""int8 codes of a block's vectors, which select the rows that are worth comparing.

A search for one embedding takes as long as reading what it compares, so a quarter of the bytes takes a quarter of the
time. For many embeddings, a processor with AVX512-VNNI multiplies int8 matrices five times as fast as float matrices.
"""

from __future__ import annotations

import threading
from typing import NamedTuple, Protocol

import faiss
import numpy as np
from numpy._core._multiarray_umath import __cpu_features__

# Without VNNI, PyTorch also multiplies int8 matrices, but one element at a time.
HAS_VNNI: bool = __cpu_features__.get("AVX512VNNI", False)
# Maximum number of queries; for more, a float matrix product is faster. faiss compares codes with one query at a time.
_MOST_BY_FAISS, _MOST_BY_VNNI = 19, 256
_LARGEST = 127  # the largest int8 code
# Rounding error of the product of two float32 vectors of length 1 and 1,024 dimensions.
_ROUNDING = 1e-5
# Rows per group. The largest products of the groups give a lower bound for the products of the best rows.
_GROUP = 16
# Codes are computed in chunks of this many rows. Whole blocks left 450 MB of freed heap behind for a million rows.
_ROWS_AT_ONCE = 1_024
_NO_ROW = np.iinfo(np.int32).min

_own = threading.local()


class Candidates(NamedTuple):
    """Pairs of a query and a row, sorted by query, their products, and per query a bound for all other products."""

    queries: np.ndarray  # int64[pairs]
    rows: np.ndarray  # int64[pairs]
    products: np.ndarray  # float32[pairs]
    others: np.ndarray  # float32[n]


class Products(Protocol):
    """Finds the rows whose codes have the largest products with queries."""

    most_queries: int
    rows_each: int  # minimum number of rows in a block for each candidate
    takes_masks: bool

    def candidates(self, queries: np.ndarray, most: int, mask: np.ndarray | None) -> Candidates | None:
        """Whole numbers, float32[n, dim] → at least `most` rows for each query; None if there would be far more."""
        ...


class Codes:
    """Codes of float32[rows, dim], whose rows have length 1.

    A vector is `mean + step * code + step * rest`, element by element. A query `q` times `step` is
    `scale * rounded + other`. `code` and `rounded` are int8. The product of query and vector is therefore
    `q·mean + scale * rounded·code`, with an error of at most `|q * step| |rest| + |other| |code|` (Cauchy-Schwarz),
    about 0.02. Rows whose products can be among the largest are compared by their vectors.
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
        """Whether codes are the fastest way to find `most` rows for each of the queries among the rows of a mask."""
        rows = len(self._vectors)
        if mask is not None:
            rows = int(mask.sum()) if self.takes_masks else 0
        return queries <= self._products.most_queries and most * self._products.rows_each <= rows

    def search(
        self, queries: np.ndarray, top_k: int, most: int, floor: np.ndarray, mask: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compare the `most` rows that seem nearest to each query: float32[n, dim] of length 1.

        Args:
            floor: float32[n], the product that `top_k` rows of some block reach. Rows that cannot reach it are left
                out. This search raises it in place.

        Returns:
            Rows, int64[n, top_k], -1 after the last one; their products, largest first; and, as bool[n], whether no
            other row of this block can be among the nearest of all blocks.
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
    """Compare (query, row) pairs, sorted by query; return the best rows, int64[n, top_k], and their products."""
    scores = np.einsum("nd,nd->n", vectors[rows], queries[numbers])
    order = np.append(np.lexsort((rows, -scores, numbers)), len(rows))
    starts, ends = np.searchsorted(numbers, [np.arange(len(queries)), np.arange(1, len(queries) + 1)])
    places = starts[:, None] + np.arange(top_k)
    best = order[np.where(places < ends[:, None], places, len(rows))]
    return np.append(rows, -1)[best], np.append(scores, np.float32(-np.inf))[best]


class FaissProducts:
    """Products of codes by faiss, on any processor."""

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
    """Products of codes as int8 matrix products by PyTorch, on a processor with AVX512-VNNI."""

    most_queries, rows_each, takes_masks = _MOST_BY_VNNI, _GROUP, True

    def __init__(self, codes: np.ndarray) -> None:
        import torch  # takes a second and 180 MB, so it happens after the first searches

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
    """Make PyTorch permanently use one thread for the calls of this thread. Other threads are not affected."""
    if getattr(_own, "is_alone", False):
        return
    import torch

    usual = torch.get_num_threads()
    torch.set_num_threads(1)  # for this thread, and for new threads until `again` restores it
    again = threading.Thread(target=torch.set_num_threads, args=[usual])
    again.start()
    again.join()
    _own.is_alone = True


def _candidates(groups: np.ndarray, most: int) -> Candidates | None:
    """int32[n, rows per group, groups] → rows with the `most` largest products, or a few more; None for far more.

    At least `most` groups have a row (see `rows_each`), so no candidate is _NO_ROW.
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
