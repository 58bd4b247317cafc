"""Other projects' code paths with the same network: the Milvus quickstart, the Towhee tutorial, clip-retrieval."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.models.registry import get_model
from pipelines.towhee_compat import import_clip
from recipes.torchvision_compat import import_torchvision

from .harness import MODEL

COLLECTION = "images"


class Reference:
    """Towhee's network with the preprocessing of CLIP's reference (PIL, torchvision), in float32."""

    def __init__(self, weights: str, device: str) -> None:
        import torch
        from safetensors.torch import load_file

        import_torchvision()
        from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

        spec = get_model(MODEL)
        self.device = "cpu" if device == "auto" else device
        self.network = import_clip().CLIP(**spec.architecture.values()).eval()
        self.network.load_state_dict(load_file(weights))
        self.network.to(self.device)
        self.dim, size = spec.dim, spec.image_size
        resize = Resize(size, interpolation=InterpolationMode.BICUBIC)
        self.preprocess = Compose([resize, CenterCrop(size), ToTensor(), Normalize(spec.mean, spec.std)])
        self.no_grad = torch.inference_mode

    def embed(self, pixels: Any) -> np.ndarray:
        """float32[n, 3, size, size] → unit vectors float32[n, dim]."""
        with self.no_grad():
            features = self.network.encode_image(pixels.to(self.device))
            return (features / features.norm(dim=-1, keepdim=True)).cpu().numpy()


class Clock:
    """Adds up the seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def __call__(self, stage: str, function: Callable[..., Any], *arguments: Any) -> Any:
        start = time.perf_counter()
        value = function(*arguments)
        self.seconds[stage] += time.perf_counter() - start
        return value


def open_image(path: str) -> Any:
    """Open an image as the tutorials do."""
    from PIL import Image

    return Image.open(path).convert("RGB")


def milvus_lite(uri: str, dim: int) -> Any:
    """Create a collection as the quickstart does, and return the client."""
    from pymilvus import MilvusClient

    client = MilvusClient(uri)
    client.create_collection(COLLECTION, dimension=dim, metric_type="COSINE")
    return client


def quickstart(paths: list[str], weights: str, device: str, uri: str) -> dict[str, float]:
    """Milvus quickstart: one image per call, one insert at the end. Return the seconds of each stage."""
    reference, clock = Reference(weights, device), Clock()
    client = milvus_lite(uri, reference.dim)
    start, rows = time.perf_counter(), []
    for number, path in enumerate(paths):
        pixels = clock("decode", lambda path=path: reference.preprocess(open_image(path)).unsqueeze(0))
        vector = clock("model", reference.embed, pixels)[0]
        rows.append({"id": number, "vector": vector, "path": path})
    clock("Milvus", client.insert, COLLECTION, rows)
    return {**clock.seconds, "total": time.perf_counter() - start}


def tutorial(paths: list[str], weights: str, device: str, uri: str) -> dict[str, float]:
    """Towhee tutorial: a pipeline that takes one row at a time through decode → CLIP → normalise → insert."""
    import cv2
    from PIL import Image

    from pipelines import pipe

    reference, clock = Reference(weights, device), Clock()
    client = milvus_lite(uri, reference.dim)

    def embed(image: np.ndarray) -> np.ndarray:
        return reference.embed(reference.preprocess(Image.fromarray(image)).unsqueeze(0))[0]

    insert = (
        pipe.input("paths")
        .flat_map("paths", ("id", "path"), enumerate)
        .map("path", "img", lambda path: clock("decode", cv2.imread, path)[:, :, ::-1])
        .map("img", "vec", lambda image: clock("model", embed, image))
        .map("vec", "vec", lambda vector: vector / np.linalg.norm(vector))
        .map(("id", "vec", "path"), "done", lambda number, vector, path: clock(
            "Milvus", client.insert, COLLECTION, [{"id": number, "vector": vector, "path": path}]))
        .output("done")
    )  # fmt: skip
    start = time.perf_counter()
    insert(paths)
    return {**clock.seconds, "total": time.perf_counter() - start}


class _Images:
    """A map-style PyTorch dataset of preprocessed images."""

    def __init__(self, paths: list[str], preprocess: Any) -> None:
        self.paths, self.preprocess = paths, preprocess

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return self.preprocess(open_image(self.paths[index]))


def data_loader(paths: list[str], weights: str, device: str, uri: str) -> dict[str, float]:
    """clip-retrieval's way: worker processes decode with PIL, float32 batches of 64, one insert per batch."""
    import os

    from torch.utils.data import DataLoader

    reference, clock = Reference(weights, device), Clock()
    client = milvus_lite(uri, reference.dim)
    start = time.perf_counter()
    loader = iter(DataLoader(_Images(paths, reference.preprocess), 64, num_workers=os.cpu_count() or 1))
    done = 0
    while (pixels := clock("decode", next, loader, None)) is not None:
        vectors = clock("model", reference.embed, pixels)
        rows = [{"id": done + n, "vector": vector, "path": paths[done + n]} for n, vector in enumerate(vectors)]
        clock("Milvus", client.insert, COLLECTION, rows)
        done += len(rows)
    return {**clock.seconds, "total": time.perf_counter() - start}


def text_pipeline(weights: str, device: str) -> Any:
    """The tutorial's text operators: tokenise (reading the vocabulary on each call), embed 77 positions, normalise."""
    from pipelines import pipe

    reference = Reference(weights, device)
    clip = import_clip()

    def embed(text: str) -> np.ndarray:
        with reference.no_grad():
            tokens = clip.tokenize(text).to(reference.device)
            return reference.network.encode_text(tokens, device=reference.device)[0].cpu().numpy()

    return (
        pipe.input("text")
        .map("text", "vec", embed)
        .map("vec", "vec", lambda vector: vector / np.linalg.norm(vector))
        .output("vec")
    )


BASELINES = {"quickstart": quickstart, "tutorial": tutorial, "data loader": data_loader}


def new_uri(folder: str, name: str) -> str:
    """Return the path of a new Milvus Lite file for a benchmark."""
    return str(Path(folder, f"{name.replace(' ', '-')}.db"))
