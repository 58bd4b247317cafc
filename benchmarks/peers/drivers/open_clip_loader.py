"""open_clip with a PyTorch DataLoader, as users write it: batches, two workers, one .npy file, a matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import compat  # noqa: F401
from ..driver import Job, drive
from ..vector_file import VectorFile

BATCH, WORKERS = 64, 2


class Images:
    """A map-style dataset of preprocessed images."""

    def __init__(self, paths: Sequence[str], preprocess: Any) -> None:
        self.paths, self.preprocess = paths, preprocess

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Any:
        from PIL import Image

        return self.preprocess(Image.open(self.paths[number]))


class OpenClip(VectorFile):
    def load(self, job: Job) -> None:
        import open_clip

        super().load(job)
        self.model, _, self.preprocess = open_clip.create_model_and_transforms(
            "ViT-B-32-quickgelu", pretrained=job.weights
        )
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer("ViT-B-32-quickgelu")

    def embed(self, paths: Sequence[str]) -> Any:
        import torch
        from torch.utils.data import DataLoader

        workers = WORKERS if len(paths) > 1 else 0  # `warm` embeds its one image without a worker process
        loader: Any = DataLoader(Images(paths, self.preprocess), batch_size=BATCH, num_workers=workers)  # type: ignore[arg-type]
        with torch.no_grad():
            return torch.cat([self.model.encode_image(batch, normalize=True) for batch in loader]).numpy()

    def search(self, text: str) -> Sequence[Any]:
        import torch

        with torch.no_grad():
            query = self.model.encode_text(self.tokenizer([text]), normalize=True).numpy()[0]
        return self.nearest(query)


if __name__ == "__main__":
    drive(OpenClip(), "open_clip_torch")
