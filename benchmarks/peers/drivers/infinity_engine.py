"""infinity-emb: its engine as a server of embeddings runs it, asked without HTTP; the vectors go into one .npy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import compat  # noqa: F401
from ..driver import TOP_K, Job, drive


class Infinity:
    def load(self, job: Job) -> None:
        from infinity_emb import AsyncEmbeddingEngine, EngineArgs

        self.file = Path(job.collection, "vectors.npy")
        self.loop = asyncio.new_event_loop()
        folder = str(Path(job.model, "hf"))
        self.engine = AsyncEmbeddingEngine.from_args(EngineArgs(model_name_or_path=folder, device="cpu"))
        self.loop.run_until_complete(self.engine.astart())

    def embed(self, paths: Sequence[str]) -> Any:
        import numpy as np
        from PIL import Image

        images: list[Any] = [Image.open(path) for path in paths]
        vectors, _ = self.loop.run_until_complete(self.engine.image_embed(images=images))
        return np.stack(vectors)

    def warm(self, path: str) -> None:
        self.embed([path])

    def index(self, paths: Sequence[str]) -> None:
        import numpy as np

        np.save(self.file, self.embed(paths))

    def stored(self) -> int:
        import numpy as np

        return len(np.load(self.file))

    def finish(self) -> None: ...

    def open(self) -> None:
        import numpy as np

        self.vectors = np.load(self.file)

    def search(self, text: str) -> Sequence[Any]:
        vectors, _ = self.loop.run_until_complete(self.engine.embed(sentences=[text]))
        return (self.vectors @ vectors[0]).argsort()[::-1][:TOP_K].tolist()


if __name__ == "__main__":
    drive(Infinity(), "infinity-emb")
