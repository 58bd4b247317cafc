"""The base of drivers whose peers return vectors and store nothing: the vectors go into one .npy file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .driver import TOP_K, Job


class VectorFile:
    """A driver without `embed` and `search`."""

    def load(self, job: Job) -> None:
        self.file = Path(job.collection, "vectors.npy")

    def embed(self, paths: Sequence[str]) -> Any:
        """Return the normalised vectors of the images."""
        raise NotImplementedError

    def warm(self, path: str) -> None:
        self.embed([path])

    def index(self, paths: Sequence[str]) -> None:
        np.save(self.file, self.embed(paths))

    def stored(self) -> int:
        return len(np.load(self.file))

    def finish(self) -> None: ...

    def open(self) -> None:
        self.vectors = np.load(self.file)

    def nearest(self, query: Any) -> Sequence[int]:
        """Return the numbers of the TOP_K nearest images, found by a matrix product."""
        found: list[int] = (self.vectors @ query).argsort()[::-1][:TOP_K].tolist()
        return found
