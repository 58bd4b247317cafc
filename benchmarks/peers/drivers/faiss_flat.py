"""FAISS flat search, the ceiling for search alone. It embeds nothing, and searches the vectors of open_clip_loader."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..driver import TOP_K, Job, drive


class FaissFlat:
    def load(self, job: Job) -> None:
        import numpy as np

        self.vectors = np.load(Path(job.collection).parent / "open_clip_loader" / "vectors.npy")

    def warm(self, path: str) -> None: ...

    def index(self, paths: Sequence[str]) -> None: ...

    def stored(self) -> int:
        return len(self.vectors)

    def finish(self) -> None: ...

    def open(self) -> None:
        import faiss

        self.index_ = faiss.IndexFlatIP(self.vectors.shape[1])
        self.index_.add(self.vectors)

    def search(self, text: str) -> Sequence[Any]:
        number = sum(text.encode()) % len(self.vectors)  # a stored vector stands for that of the text
        return self.index_.search(self.vectors[number : number + 1], TOP_K)[1][0].tolist()


if __name__ == "__main__":
    drive(FaissFlat(), "faiss-cpu")
