"""sentence-transformers' class of clip-ViT-B-32: `encode` of a list of images, then `util.semantic_search`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import compat  # noqa: F401
from ..driver import TOP_K, Job, drive


class SentenceTransformers:
    def load(self, job: Job) -> None:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import CLIPModel

        self.model = SentenceTransformer(modules=[CLIPModel(str(Path(job.model, "hf")))], device="cpu")
        self.file = Path(job.collection, "vectors.npy")

    def warm(self, path: str) -> None:
        from PIL import Image

        self.model.encode([Image.open(path)])  # type: ignore[list-item]

    def index(self, paths: Sequence[str]) -> None:
        import numpy as np
        from PIL import Image

        images = [Image.open(path) for path in paths]
        np.save(self.file, self.model.encode(images, normalize_embeddings=True))  # type: ignore[arg-type]

    def stored(self) -> int:
        import numpy as np

        return len(np.load(self.file))

    def finish(self) -> None: ...

    def open(self) -> None:
        import numpy as np

        self.vectors = np.load(self.file)

    def search(self, text: str) -> Sequence[Any]:
        from sentence_transformers import util

        return util.semantic_search(self.model.encode(text), self.vectors, top_k=TOP_K)[0]


if __name__ == "__main__":
    drive(SentenceTransformers(), "sentence-transformers")
