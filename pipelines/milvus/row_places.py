"""Where the rows of a folder of vectors are. If several rows have the same id, only the last one counts."""

from __future__ import annotations

import numpy as np


class RowPlaces:
    """The places of rows, by id, in a sequence of parts.

    ids: the ids of each part, int64[n].
    """

    def __init__(self) -> None:
        self.ids: list[np.ndarray] = []
        self._located: tuple[np.ndarray, ...] | None = None

    def __len__(self) -> int:
        return len(self._locate()[0])

    def add(self, ids: np.ndarray) -> None:
        """Append a part."""
        self.ids.append(ids)
        self._located = None

    def keep(self, part: int, kept: np.ndarray) -> None:
        """Remove the rows of a part for which `kept`, bool[n], is False."""
        self.ids[part] = self.ids[part][kept]
        self._located = None

    def find(self, key: int) -> tuple[int, int] | None:
        """Return the part that holds a row, and its place there; None for an unknown id."""
        ids, places, starts = self._locate()
        at = int(np.searchsorted(ids, key))
        if at == len(ids) or ids[at] != key:
            return None
        part = int(np.searchsorted(starts, places[at], "right")) - 1
        return part, int(places[at] - starts[part])

    def of_part(self, part: int) -> np.ndarray:
        """Return the places, in order, of the rows of a part that no later row replaces."""
        _, places, starts = self._locate()
        start, end = starts[part : part + 2]
        return np.asarray(np.sort(places[(places >= start) & (places < end)]) - start)

    def _locate(self) -> tuple[np.ndarray, ...]:
        """Return the distinct ids in order, the last place of each, counted over all parts, and each part's start."""
        if self._located is None:
            ids = np.concatenate([np.zeros(0, np.int64), *self.ids])
            distinct, last = np.unique(ids[::-1], return_index=True)
            self._located = distinct, len(ids) - 1 - last, np.cumsum([0, *map(len, self.ids)])
        return self._located
