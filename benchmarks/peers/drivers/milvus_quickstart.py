"""The published steps of the Milvus quickstart "text-to-image search": PIL, one image per call, one final insert.

The notebook uses OpenAI's `clip` package; open_clip has the same network and the same preprocessing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import compat  # noqa: F401
from ..driver import TOP_K, Job, drive

COLLECTION = "image_collection"


class MilvusQuickstart:
    def load(self, job: Job) -> None:
        import open_clip
        from pymilvus import MilvusClient

        self.model, _, self.preprocess = open_clip.create_model_and_transforms(
            "ViT-B-32-quickgelu", pretrained=job.weights
        )
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer("ViT-B-32-quickgelu")
        self.client = MilvusClient(uri=str(Path(job.collection, "milvus_demo.db")))

    def encode_image(self, path: str) -> list[float]:
        import torch
        from PIL import Image

        with torch.no_grad():
            features = self.model.encode_image(self.preprocess(Image.open(path)).unsqueeze(0))
            features /= features.norm(dim=-1, keepdim=True)
        return features.squeeze().tolist()

    def encode_text(self, text: str) -> list[float]:
        import torch

        with torch.no_grad():
            features = self.model.encode_text(self.tokenizer([text]))
            features /= features.norm(dim=-1, keepdim=True)
        return features.squeeze().tolist()

    def warm(self, path: str) -> None:
        self.encode_image(path)

    def index(self, paths: Sequence[str]) -> None:
        if self.client.has_collection(COLLECTION):
            self.client.drop_collection(COLLECTION)
        self.client.create_collection(COLLECTION, dimension=512, auto_id=True, enable_dynamic_field=True)
        rows = [{"vector": self.encode_image(path), "filepath": path} for path in paths]
        self.client.insert(COLLECTION, rows)

    def stored(self) -> int:
        return int(self.client.query(COLLECTION, output_fields=["count(*)"])[0]["count(*)"])

    def finish(self) -> None: ...

    def open(self) -> None:
        self.client.load_collection(COLLECTION)

    def search(self, text: str) -> Sequence[Any]:
        return self.client.search(
            COLLECTION, data=[self.encode_text(text)], limit=TOP_K, output_fields=["filepath"]
        )[0]  # fmt: skip


if __name__ == "__main__":
    drive(MilvusQuickstart(), "pymilvus")
