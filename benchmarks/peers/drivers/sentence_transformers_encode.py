"""sentence-transformers with its class for clip-ViT-B-32: `encode` a list of images, then `util.semantic_search`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import compat  # noqa: F401
from ..driver import TOP_K, Job, drive
from ..vector_file import VectorFile


class SentenceTransformers(VectorFile):
    def load(self, job: Job) -> None:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import CLIPModel

        super().load(job)
        self.model = SentenceTransformer(modules=[CLIPModel(str(Path(job.model, "hf")))], device="cpu")

    def embed(self, paths: Sequence[str]) -> Any:
        from PIL import Image

        images = [Image.open(path) for path in paths]
        return self.model.encode(images, normalize_embeddings=True)  # type: ignore[arg-type]

    def search(self, text: str) -> Sequence[Any]:
        from sentence_transformers import util

        return util.semantic_search(self.model.encode(text), self.vectors, top_k=TOP_K)[0]


if __name__ == "__main__":
    drive(SentenceTransformers(), "sentence-transformers")
