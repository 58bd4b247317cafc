"""Held-out images: their figures between epochs, by the functions of `image-search evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from ..evaluation.evaluator import sample
from ..evaluation.exact import ranks_of
from ..evaluation.metrics import CAPTION_METRICS, LABEL_METRICS, per_query
from ..evaluation.prompts import embed_class, humanize, unit
from ..models.tokenizer import tokenize
from .dataset import Image
from .trainer import Trainer

T = TypeVar("T", np.ndarray, list[str])

_AT_ONCE = 64
_MAX_QUERIES = 5000


@dataclass(frozen=True)
class HeldOut:
    """Images that are not trained on, with their captions and labels.

    pixels: uint8[n, size, size, 3] of all images; `rows` are the held-out ones, in the order of `images`.
    context: the most tokens of a text.
    """

    images: list[Image]
    pixels: np.ndarray
    rows: np.ndarray
    templates: tuple[str, ...]
    context: int

    @torch.no_grad()
    def measure(self, trainer: Trainer) -> dict[str, float]:
        """Return figures in 0..1 by name: 'caption → image recall@10', 'class name → images mAP@10', …"""
        trainer.network.eval()
        vectors = np.concatenate([self._embed_images(trainer, part) for part in _parts(self.rows)])

        def embed_texts(texts: Sequence[str]) -> np.ndarray:
            tokens = tokenize(texts, self.context)
            cut = torch.from_numpy(tokens[:, : tokens.argmax(axis=1).max() + 1])
            embedded: np.ndarray = trainer.embed_tokens(cut.to(trainer.device)).cpu().numpy()
            return embedded

        figures: dict[str, float] = {}
        classes = sorted({image.label for image in self.images} - {""})
        if len(classes) > 1:
            queries = np.stack([embed_class(humanize(name), self.templates, embed_texts) for name in classes])
            labels = np.array([image.label for image in self.images])
            relevant = [np.flatnonzero(labels == name) for name in classes]
            figures |= _means("class name → images", LABEL_METRICS, ranks_of(queries, vectors, relevant))
        captions = [(number, text) for number, image in enumerate(self.images) for text in image.captions]
        if captions:
            chosen = [captions[number] for number in sample(len(captions), _MAX_QUERIES, 0)]
            queries = np.concatenate([unit(embed_texts(part)) for part in _parts([text for _, text in chosen])])
            owners = np.array([number for number, _ in chosen])
            figures |= _means("caption → image", CAPTION_METRICS, ranks_of(queries, vectors, list(owners[:, None])))
            described = np.unique(owners)
            relevant = [np.flatnonzero(owners == number) for number in described]
            ranks = ranks_of(vectors[described], queries, relevant)
            figures |= _means("image → captions", CAPTION_METRICS, ranks)
        return figures

    def _embed_images(self, trainer: Trainer, rows: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(self.pixels[rows]).to(trainer.device)
        return unit(trainer.embed_images(trainer.normalize(pixels)).cpu().numpy())


def _means(title: str, metrics: Sequence[str], ranks: Sequence[np.ndarray]) -> dict[str, float]:
    """Return figures without the intervals of `evaluate`: their resamples would take longer than a short epoch."""
    return {f"{title} {name}": float(per_query(name, ranks).mean()) for name in metrics}


def _parts(items: T) -> list[T]:
    return [items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE)]


def score(figures: dict[str, float]) -> float:
    """Return the number that chooses the best epoch: the mean reciprocal rank of a text's first relevant image."""
    return float(
        np.mean([value for name, value in figures.items() if name.endswith(" MRR") and not name.startswith("image")])
    )


def describe(figures: dict[str, float]) -> str:
    """Return the main figures on one line."""
    names = ("caption → image recall@1", "caption → image recall@10", "class name → images precision@10")
    return ", ".join(f"{name} {100 * figures[name]:.1f} %" for name in names if name in figures)
