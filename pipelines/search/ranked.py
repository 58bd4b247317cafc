"""Rankings of the rows nearest to an embedding, kept for the next pages of a query, with near duplicates folded."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from ..milvus.collection import Collection
from ..milvus.lite import is_lite
from ..milvus.stamp import rows_stamp
from ..query import MAX_LIMIT
from .folding import Folding
from .paging import APPROXIMATE_FIRST, rank_score

# Numbers of rows to request, one after the other, up to the most that can be reached. The first repeats the search of
# a first page. Those hits of an approximate index keep their ranks, so the next page neither repeats nor skips a row.
_DEPTHS = (APPROXIMATE_FIRST, 1_024, MAX_LIMIT)
_ROWS_AT_ONCE = 256  # number of rows to compare with the kept ones at a time
# Seconds between checks of a server's rows, and until a ranking is dropped anyway: only flushed updates are reported.
_CHECK_SECONDS, _LONGEST_SECONDS = 30.0, 600.0
_MOST_BYTES = 128 << 20


class Ranked:
    """The rows nearest to an embedding, best first, without their columns. Threads can share it.

    Args:
        ask: returns the ids, int64[n], and the scores, float64[n], of the best rows, at most the given number.
        fetch: returns the embeddings, float32[n, dim], of n rows by their ids; NaN for deleted rows.
    """

    def __init__(
        self, ask: Callable[[int], tuple[np.ndarray, np.ndarray]], fetch: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        self.ids, self.scores = np.empty(0, np.int64), np.empty(0)
        self._ask, self._fetch = ask, fetch
        self._depths = list(_DEPTHS)  # those not requested yet
        self._foldings: dict[tuple[float, float | None], Folding] = {}
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of memory that this takes, nearly all of it for the embeddings of kept rows."""
        return self.ids.nbytes + self.scores.nbytes + sum(folding.nbytes for folding in self._foldings.values())

    def best(self, min_score: float | None, needed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids and scores of the best `needed` rows that reach a score, or of all if there are fewer."""
        with self._lock:
            self._deepen(needed, min_score)
            count = needed if min_score is None else min(needed, int(np.count_nonzero(self.scores >= min_score)))
            return self.ids[:count], self.scores[:count]

    def count(self, min_score: float) -> int:
        """Return the number of rows with at least this score, at most MAX_LIMIT."""
        return len(self.best(min_score, MAX_LIMIT)[0])

    def folded(
        self, threshold: float, min_score: float | None, needed: int
    ) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """Fold rows until `needed` are kept, or all are processed.

        Returns:
            The ids and scores of the kept rows, and the number of rows folded into each so far.
        """
        with self._lock:
            folding = self._foldings.setdefault((threshold, min_score), Folding(threshold))
            while len(folding.kept) < needed:
                start, end = folding.looked, folding.looked + _ROWS_AT_ONCE
                self._deepen(end, min_score)
                part = self.ids[start:end]
                if min_score is not None:
                    part = part[self.scores[start:end] >= min_score]
                if not len(part):
                    break
                folding.add(self._fetch(part))
            return self.ids[folding.kept], self.scores[folding.kept], list(folding.folded)

    def _deepen(self, count: int, min_score: float | None) -> None:
        """Request more rows until there are `count`, or all that reach a score. Known rows keep their ranks."""
        while self._depths and len(self.ids) < count:
            if min_score is not None and len(self.ids) and self.scores[-1] < min_score:
                return
            depth = self._depths.pop(0)
            ids, scores = self._ask(depth)
            if len(ids) < depth:
                self._depths.clear()
            ranks = rank_score(scores)
            order = np.lexsort((ids, -ranks))
            if self._depths:  # rows that were not returned may have the last score, too
                order = order[ranks[order] > ranks[order[-1]]]
            order = order[~np.isin(ids[order], self.ids)]
            self.ids, self.scores = np.append(self.ids, ids[order]), np.append(self.scores, scores[order])


class Rankings:
    """Keeps the latest rankings until the collection's rows change. Threads can share it."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._kept: OrderedDict[tuple[bytes, str, int], Ranked] = OrderedDict()
        self._stamp, self._until = "", 0.0
        self._lock = threading.Lock()

    def of(self, embedding: np.ndarray, expression: str, make: Callable[[], Ranked]) -> Ranked:
        """Return the ranking of the rows that match an expression; make it if none is kept."""
        now = time.monotonic()
        key = (embedding.tobytes(), expression, int(now // _LONGEST_SECONDS))
        is_due = is_lite(self._collection.uri) or now > self._until
        stamp = rows_stamp(self._collection) if is_due else self._stamp
        with self._lock:
            if stamp != self._stamp:
                self._kept.clear()
            if is_due:
                self._stamp, self._until = stamp, now + _CHECK_SECONDS
            ranked = self._kept.pop(key, None) or make()
            self._kept[key] = ranked
            while len(self._kept) > 1 and sum(other.nbytes for other in self._kept.values()) > _MOST_BYTES:
                self._kept.popitem(last=False)
        return ranked
