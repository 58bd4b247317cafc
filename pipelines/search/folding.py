"""Fold near duplicates into the best-ranked one of them."""

from __future__ import annotations

import numpy as np


class Folding:
    """The rows kept from the part of a ranking that was processed, and the number of rows folded into each.

    A row is folded into the best-ranked kept row with which its cosine is at least `threshold`. Later rows never
    change which earlier rows are kept, so the result of a longer ranking starts with that of a shorter one.

    Attributes:
        kept: indices of the kept rows in the ranking.
        folded: the number of rows folded into each kept row.
        looked: the number of rows processed so far.
    """

    def __init__(self, threshold: float) -> None:
        self.kept: list[int] = []
        self.folded: list[int] = []
        self.looked = 0
        self._threshold = threshold
        self._embeddings = np.empty((0, 0), np.float32)  # of the kept rows, with room for more

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the kept embeddings take."""
        return self._embeddings.nbytes

    def add(self, embeddings: np.ndarray) -> None:
        """Process the next rows of the ranking: float32[n, dim] of unit length. A row of NaN is similar to no other."""
        before = len(self.kept)
        known = self._embeddings[:before].reshape(before, embeddings.shape[1])
        to_known = embeddings @ known.T >= self._threshold
        to_each_other = embeddings @ embeddings.T >= self._threshold
        fresh: list[int] = []  # the rows of this call that are kept
        for row in range(len(embeddings)):
            near = np.flatnonzero(to_known[row])
            if not len(near):
                near = before + np.flatnonzero(to_each_other[row, fresh])
            if len(near):
                self.folded[near[0]] += 1
            else:
                fresh.append(row)
                self.kept.append(self.looked + row)
                self.folded.append(0)
        self._keep(embeddings[fresh], before)
        self.looked += len(embeddings)

    def _keep(self, embeddings: np.ndarray, before: int) -> None:
        end = before + len(embeddings)
        if end > len(self._embeddings):
            room = np.empty((max(end, 2 * before), embeddings.shape[1]), np.float32)
            room[:before] = self._embeddings[:before].reshape(before, embeddings.shape[1])
            self._embeddings = room
        self._embeddings[before:end] = embeddings
