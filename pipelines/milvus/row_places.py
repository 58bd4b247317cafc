"""Where the rows of a folder of vectors are: of rows with the same id, the last one."""

from __future__ import annotations

import numpy as np


class RowPlaces:
    """The places of rows in parts that follow one another, by id.

    ids: of each part, int64[n].
    """

    def __init__(self) -> None:
        self.ids: list[np.ndarray] = []
        self._located: tuple[np.ndarray, ...] | None = None

    def __len__(self) -> int:
        return len(self._locate()[0])

    def add(self, ids: np.ndarray) -> None:
        """Take in a part, after all others."""
        self.ids.append(ids)
        self._located = None

    def keep(self, part: int, kept: np.ndarray) -> None:
        """Leave out the rows of a part whose place in `kept`, bool[n], is False."""
        self.ids[part] = self.ids[part][kept]
        self._located = None

    def find(self, key: int) -> tuple[int, int] | None:
        """Return the part that holds a row, and its place there."""
        ids, places, starts = self._locate()
        at = int(np.searchsorted(ids, key))
        if at == len(ids) or ids[at] != key:
            return None
        part = int(np.searchsorted(starts, places[at], "right")) - 1
        return part, int(places[at] - starts[part])

    def of_part(self, part: int) -> np.ndarray:
        """Return the places of a part that no later row replaces, in their order."""
        _, places, starts = self._locate()
        start, end = starts[part : part + 2]
        return np.asarray(np.sort(places[(places >= start) & (places < end)]) - start)

    def _locate(self) -> tuple[np.ndarray, ...]:
        """Return the distinct ids in order, the last place of each, counted over all parts, and where parts start."""
        if self._located is None:
            ids = np.concatenate([np.zeros(0, np.int64), *self.ids])
            distinct, last = np.unique(ids[::-1], return_index=True)
            self._located = distinct, len(ids) - 1 - last, np.cumsum([0, *map(len, self.ids)])
        return self._located
