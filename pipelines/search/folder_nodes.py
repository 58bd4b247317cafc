"""The folders of a collection's paths as a tree. A parent comes before its children."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from .natural import natural_key


class FolderNodes:
    """All folders, including those that hold only other folders.

    paths: each folder with a trailing '/'; the first is '', the root of all others.
    places: the index of each folder in `paths`.
    """

    def __init__(self, folders: Iterable[str]) -> None:
        self.paths = [""]
        self.places = {"": 0}
        self._parents = [0]
        self._of_folders = np.array([self._add(folder) for folder in folders], np.int64)
        self._children: dict[int, list[int]] = {}
        for place in range(1, len(self.paths)):
            self._children.setdefault(self._parents[place], []).append(place)
        for children in self._children.values():
            children.sort(key=lambda place: natural_key(self.paths[place]))

    def totals(self, counts: np.ndarray) -> np.ndarray:
        """Return the number of rows in each folder at any depth, from the number directly in each given folder."""
        totals: list[int] = np.bincount(self._of_folders, counts, len(self.paths)).astype(np.int64).tolist()
        for place in range(len(totals) - 1, 0, -1):  # children before their parents
            totals[self._parents[place]] += totals[place]
        return np.array(totals)

    def children_with(self, place: int, totals: np.ndarray) -> list[int]:
        """Return the subfolders of this folder that have rows, sorted by name."""
        return [child for child in self._children.get(place, ()) if totals[child]]

    def _add(self, folder: str) -> int:
        if folder not in self.places:
            for parent, child in _steps(folder):
                if child not in self.places:
                    self.places[child] = len(self.paths)
                    self.paths.append(child)
                    self._parents.append(self.places[parent])
        return self.places[folder]


def _steps(folder: str) -> Iterator[tuple[str, str]]:
    """Each folder on the path to this one, as (parent, folder): ('', '/'), ('/', '/a/'), ('/a/', '/a/b/')."""
    start = 0
    while (end := folder.find("/", start)) >= 0:
        if folder[end + 1 : end + 2] == "/":  # the second slash of https://
            end += 1
        yield folder[:start], folder[: end + 1]
        start = end + 1
