"""infinity-emb: the engine of its embedding server, called without HTTP; the vectors go into one .npy file."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import compat  # noqa: F401
from ..driver import Job, drive
from ..vector_file import VectorFile


class Infinity(VectorFile):
    engine: Any = None

    def load(self, job: Job) -> None:
        from infinity_emb import AsyncEmbeddingEngine, EngineArgs

        super().load(job)
        self.loop = asyncio.new_event_loop()
        folder = str(Path(job.model, "hf"))
        engine = AsyncEmbeddingEngine.from_args(EngineArgs(model_name_or_path=folder, device="cpu"))
        self.loop.run_until_complete(engine.astart())
        self.engine = engine

    def embed(self, paths: Sequence[str]) -> Any:
        import numpy as np
        from PIL import Image

        images: list[Any] = [Image.open(path) for path in paths]
        vectors, _ = self.loop.run_until_complete(self.engine.image_embed(images=images))
        return np.stack(vectors)

    def stop(self) -> None:
        """Stop the engine, if it runs: its threads would keep the process alive."""
        if self.engine is not None:
            self.loop.run_until_complete(self.engine.astop())

    def search(self, text: str) -> Sequence[Any]:
        vectors, _ = self.loop.run_until_complete(self.engine.embed(sentences=[text]))
        return self.nearest(vectors[0])


if __name__ == "__main__":
    peer = Infinity()
    try:
        drive(peer, "infinity-emb")
    finally:
        peer.stop()
