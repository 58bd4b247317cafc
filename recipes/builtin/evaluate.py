"""Evaluation on images that no stage uses to train or to select: two photo sets and scikit-image's samples."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from pipelines.evaluation.exact import ranks_of
from pipelines.evaluation.metrics import per_query
from pipelines.training.model import encode_tokens

from . import augment, text_tower

ImageEncoder = Callable[[torch.Tensor], torch.Tensor]
TextEncoder = Callable[[Sequence[str]], torch.Tensor]

LABEL_TEMPLATE = "a photo of a {}"
# Queries and the sample images that are relevant to them.
SAMPLE_QUERIES = {
    "an astronaut": ("astronaut.png",),
    "a cat": ("chelsea.png",),
    "a cup of coffee": ("coffee.png",),
    "a rocket": ("rocket.jpg",),
    "a motorcycle": ("motorcycle_left.png", "motorcycle_right.png"),
    "a man with a camera": ("camera.png",),
    "galaxies in space": ("hubble_deep_field.jpg",),
    "old coins": ("coins.png",),
    "a brick wall": ("brick.png",),
    "green grass": ("grass.png",),
    "gravel": ("gravel.png",),
    "handwriting": ("text.png",),
    "the moon": ("moon.png",),
    "a clock": ("clock_motion.png",),
}
SAMPLES = (
    *sorted({file for files in SAMPLE_QUERIES.values() for file in files}),
    "cell.png", "chessboard_RGB.png", "horse.png", "ihc.png", "logo.png", "microaneurysms.png", "page.png",
    "phantom.png", "retina.jpg",
)  # fmt: skip


def read_images(files: Sequence[Path], size: int) -> torch.Tensor:
    """Decode to RGB and preprocess as the product does: float32[n, 3, size, size]."""
    from PIL import Image

    images = []
    for file in files:
        with Image.open(file) as image:
            images.append(augment.preprocess(np.array(image.convert("RGB")), size))
    return torch.stack(images)


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _percent(metric: str, ranks: Sequence[np.ndarray]) -> float:
    return 100 * float(per_query(metric, ranks).mean())


def by_class_name(images: torch.Tensor, labels: Sequence[str], encode: TextEncoder) -> tuple[float, float]:
    """Return P@10 and hit@10, in percent, with class names as queries."""
    names = sorted(set(labels))
    queries = encode([LABEL_TEMPLATE.format(name.replace("_", " ")) for name in names])
    relevant = [np.flatnonzero(np.array(labels) == name) for name in names]
    ranks = ranks_of(queries.numpy(), images.numpy(), relevant)
    return _percent("precision@10", ranks), _percent("recall@10", ranks)


def by_caption(images: torch.Tensor, captions: Sequence[str], rows: torch.Tensor, encode: TextEncoder) -> list[float]:
    """Return R@1, R@5 and R@10 in percent: how often a caption's own image is among the first."""
    queries = torch.cat([encode(captions[start : start + 512]) for start in range(0, len(captions), 512)])
    ranks = ranks_of(queries.numpy(), images.numpy(), list(rows.numpy()[:, None]))
    return [_percent(f"recall@{first}", ranks) for first in (1, 5, 10)]


def by_sample_query(images: torch.Tensor, encode: TextEncoder) -> dict[str, int]:
    """Return the rank of the first relevant image among scikit-image's samples, by query."""
    relevant = [np.array([SAMPLES.index(file) for file in files]) for files in SAMPLE_QUERIES.values()]
    ranks = ranks_of(encode(list(SAMPLE_QUERIES)).numpy(), images.numpy(), relevant)
    return {query: int(found[0]) for query, found in zip(SAMPLE_QUERIES, ranks, strict=True)}


class HeldOut:
    """The held-out images, decoded once for all models.

    `folder` holds `reverse_image_search/` and `flickr8k_test/`, each with its CSV files.
    """

    def __init__(self, folder: Path, size: int) -> None:
        classes = folder / "reverse_image_search"
        rows = _rows(classes / "reverse_image_search.csv")
        self.labels = [row["label"] for row in rows]
        self.classes = read_images([classes / row["path"] for row in rows], size)
        captioned = folder / "flickr8k_test"
        rows = _rows(captioned / "images.csv")
        places = {row["id"]: place for place, row in enumerate(rows)}
        self.captioned = read_images([captioned / row["path"] for row in rows], size)
        captions = _rows(captioned / "captions.csv")
        self.captions = [row["caption"] for row in captions]
        self.caption_rows = torch.tensor([places[row["id"]] for row in captions])
        package = importlib.util.find_spec("skimage")
        samples = Path(package.origin).parent / "data" if package and package.origin else None
        self.samples = read_images([samples / name for name in SAMPLES], size) if samples else None

    @torch.inference_mode()
    def report(self, name: str, image: ImageEncoder, text: TextEncoder) -> tuple[torch.Tensor, torch.Tensor]:
        """Print one model's figures; return its embeddings of the images with classes and of those with captions."""
        classes, captioned = image(self.classes), image(self.captioned)
        precision, hit = by_class_name(classes, self.labels, text)
        recalls = by_caption(captioned, self.captions, self.caption_rows, text)
        print(
            f"{name}: class name P@10 {precision:.1f} % hit@10 {hit:.0f} %; "
            f"caption R@1/5/10 {recalls[0]:.1f}/{recalls[1]:.1f}/{recalls[2]:.1f} %",
            flush=True,
        )
        if self.samples is not None:
            ranks = by_sample_query(image(self.samples), text)
            first = sum(rank <= 3 for rank in ranks.values())
            listed = ", ".join(f"{query} {rank}" for query, rank in ranks.items())
            print(f"{name}: samples, rank of the right image among {len(SAMPLES)}: {listed}")
            print(f"{name}: samples, in the first 3 for {first} of {len(ranks)} queries", flush=True)
        return classes, captioned


def report_nearness(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> None:
    """Print the mean cosine between two results of `HeldOut.report`."""
    classes, captioned = [(mine * theirs).sum(1).mean() for mine, theirs in zip(one, other, strict=True)]
    print(f"cosine of the last two: images of classes {classes:.3f}, with captions {captioned:.3f}", flush=True)


def clip_encoders(clip: Any) -> tuple[ImageEncoder, TextEncoder]:
    """Return both towers in full precision, as the product runs them on a machine without bf16."""
    tokenizer = text_tower.make_tokenizer()

    def image(pixels: torch.Tensor) -> torch.Tensor:
        return torch.cat([F.normalize(clip.visual(part), dim=-1) for part in torch.split(pixels, 256)])

    def text(sentences: Sequence[str]) -> torch.Tensor:
        tokens = text_tower.tokenize(tokenizer, sentences, clip.context_length)
        return F.normalize(encode_tokens(clip, tokens.long()), dim=-1)

    return image, text
