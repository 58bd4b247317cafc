"""Held-out figures between epochs, by the same functions as `image-search evaluate`."""

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
from .learner import Learner
from .pairs import Image

T = TypeVar("T", np.ndarray, list[str])

_AT_ONCE = 64
_QUERIES = 5000


@dataclass(frozen=True)
class HeldOut:
    """Images that nothing is trained on, with their captions and labels."""

    images: list[Image]
    pixels: np.ndarray
    rows: np.ndarray
    templates: tuple[str, ...]
    context: int

    @torch.no_grad()
    def measure(self, learner: Learner) -> dict[str, float]:
        """Figures by name, each in 0..1: 'caption → image recall@10', 'class name → images mAP@10', …"""
        learner.network.eval()
        vectors = np.concatenate([self._embed(learner, part) for part in _parts(self.rows)])

        def embed_texts(texts: Sequence[str]) -> np.ndarray:
            tokens = tokenize(texts, self.context)
            cut = torch.from_numpy(tokens[:, : tokens.argmax(axis=1).max() + 1])
            return learner.embed_tokens(cut.to(learner.device)).cpu().numpy()

        found: dict[str, float] = {}
        classes = sorted({image.label for image in self.images} - {""})
        if len(classes) > 1:
            queries = np.stack([embed_class(humanize(name), self.templates, embed_texts) for name in classes])
            labels = np.array([image.label for image in self.images])
            right = [np.flatnonzero(labels == name) for name in classes]
            found |= _figures("class name → images", LABEL_METRICS, ranks_of(queries, vectors, right))
        captions = [(number, text) for number, image in enumerate(self.images) for text in image.captions]
        if captions:
            chosen = [captions[number] for number in sample(len(captions), _QUERIES, 0)]
            texts = [text for _, text in chosen]
            queries = np.concatenate([unit(embed_texts(part)) for part in _parts(texts)])
            owners = np.array([number for number, _ in chosen])
            found |= _figures("caption → image", CAPTION_METRICS, ranks_of(queries, vectors, list(owners[:, None])))
            told = np.unique(owners)
            right = [np.flatnonzero(owners == number) for number in told]
            found |= _figures("image → captions", CAPTION_METRICS, ranks_of(vectors[told], queries, right))
        return found

    def _embed(self, learner: Learner, rows: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(self.pixels[rows]).to(learner.device)
        return unit(learner.embed_images(learner.plain(pixels)).cpu().numpy())


def _figures(title: str, metrics: Sequence[str], ranks: Sequence[np.ndarray]) -> dict[str, float]:
    """Without the intervals of `evaluate`: their thousands of resamples would cost more than a short epoch."""
    return {f"{title} {name}": float(per_query(name, ranks).mean()) for name in metrics}


def _parts(items: T) -> list[T]:
    return [items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE)]


def score(figures: dict[str, float]) -> float:
    """One number to choose the epoch by: the mean reciprocal rank of a text's first right image."""
    wanted = [value for name, value in figures.items() if name.endswith(" MRR") and not name.startswith("image")]
    return float(np.mean(wanted))


def shown(figures: dict[str, float]) -> str:
    """The figure that people ask for, for one line."""
    names = ("caption → image recall@1", "caption → image recall@10", "class name → images precision@10")
    return ", ".join(f"{name} {100 * figures[name]:.1f} %" for name in names if name in figures)
