"""The rows nearest to an embedding, as far as pages of one query have looked, and near duplicates folded among them."""

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

# So many are asked for, one after the other, up to all that can be reached. The first is the question of a first page:
# what an approximate index answered to that keeps its ranks, so that the next page neither repeats nor skips a row.
_DEPTHS = (APPROXIMATE_FIRST, 1_024, MAX_LIMIT)
_ROWS_AT_ONCE = 256  # are compared with those that are kept
# A server is asked this often whether rows changed; it does not tell of updates that nobody flushed.
_CHECK_SECONDS, _LONGEST_SECONDS = 30.0, 600.0
_MOST_BYTES = 128 << 20


class Ranked:
    """The rows nearest to an embedding, best first, without their columns. Threads can share it.

    Args:
        ask: returns the ids, int64[n], and the scores, float64[n], of the best rows, at most as many as asked for.
        fetch: ids of n rows → float32[n, dim], their embeddings, NaN for rows that are gone.
    """

    def __init__(
        self, ask: Callable[[int], tuple[np.ndarray, np.ndarray]], fetch: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        self.ids, self.scores = np.empty(0, np.int64), np.empty(0)
        self._ask, self._fetch = ask, fetch
        self._depths = list(_DEPTHS)  # those that are left
        self._foldings: dict[tuple[float, float | None], Folding] = {}
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """The memory that this takes, nearly all of it for the embeddings of rows that are kept."""
        return self.ids.nbytes + self.scores.nbytes + sum(folding.nbytes for folding in self._foldings.values())

    def best(self, min_score: float | None, needed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids and the scores of the best rows that reach a score: `needed` of them, or all there are."""
        with self._lock:
            self._deepen(needed, min_score)
            count = needed if min_score is None else min(needed, int(np.count_nonzero(self.scores >= min_score)))
            return self.ids[:count], self.scores[:count]

    def count(self, min_score: float) -> int:
        """Return how many rows have at least this score, of those that can be reached."""
        return len(self.best(min_score, MAX_LIMIT)[0])

    def folded(
        self, threshold: float, min_score: float | None, needed: int
    ) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """Fold until so many rows are kept, or all were looked at.

        Returns:
            The ids and the scores of the kept rows, and how many were folded into each so far.
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
        """Ask for more rows until there are so many, or all of a score. Rows that are known keep their ranks."""
        while self._depths and len(self.ids) < count:
            if min_score is not None and len(self.ids) and self.scores[-1] < min_score:
                return
            depth = self._depths.pop(0)
            ids, scores = self._ask(depth)
            if len(ids) < depth:
                self._depths.clear()
            ranks = rank_score(scores)
            order = np.lexsort((ids, -ranks))
            if self._depths:  # the rows after these may have the last score too
                order = order[ranks[order] > ranks[order[-1]]]
            order = order[~np.isin(ids[order], self.ids)]
            self.ids, self.scores = np.append(self.ids, ids[order]), np.append(self.scores, scores[order])


class Rankings:
    """The rankings that were asked for last, until the collection's rows change. Threads can share them."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._kept: OrderedDict[tuple[bytes, str, int], Ranked] = OrderedDict()
        self._stamp, self._until = "", 0.0
        self._lock = threading.Lock()

    def of(self, embedding: np.ndarray, expression: str, make: Callable[[], Ranked]) -> Ranked:
        """Return the ranking of the rows that match an expression, or make it."""
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
