"""This project: `run_insert` on the CSV, then `Searcher`, on Milvus Lite with default settings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..driver import TOP_K, Job, drive


class ThisProject:
    def load(self, job: Job) -> None:
        from pipelines import Settings

        self.table, self.rejects = job.table, os.path.join(job.collection, "rejected.csv")
        self.settings = Settings(
            uri=str(Path(job.collection, "search.db")), model="clip_vit_base_patch32", weights=job.weights
        )

    def warm(self, path: str) -> None:
        from pipelines import run_insert

        run_insert(self.table, replace(self.settings, collection="warm"), limit=1, rejects=self.rejects)

    def index(self, paths: Sequence[str]) -> None:
        from pipelines import run_insert

        run_insert(self.table, self.settings, rejects=self.rejects)

    def stored(self) -> int:
        from pipelines import Searcher

        return Searcher(self.settings).info().rows

    def finish(self) -> None: ...

    def open(self) -> None:
        from pipelines import Searcher

        self.searcher = Searcher(self.settings)

    def search(self, text: str) -> Sequence[Any]:
        return self.searcher.by_text(text, TOP_K).hits


if __name__ == "__main__":
    drive(ThisProject())
