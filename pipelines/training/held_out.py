"""Held-out images, measured between epochs with the query sets of `image-search evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..evaluation.evaluator import Evaluator
from ..evaluation.exact import EmbeddingTable, ranks_of
from ..evaluation.ground_truth import Caption, GroundTruth
from ..evaluation.metrics import per_query, sample
from ..evaluation.prompts import unit
from ..evaluation.query_set import Corpus, QuerySet
from ..models.tokenizer import tokenize
from .dataset import Image
from .trainer import Trainer

_AT_ONCE = 64
_MAX_CAPTIONS = 5000


@dataclass(frozen=True)
class HeldOut:
    """Images that are not trained on, with their captions and labels.

    pixels: uint8[n, size, size, 3] of all images; `rows` are the held-out ones, in the order of `images`.
    context: maximum number of tokens of a text.
    """

    images: list[Image]
    pixels: np.ndarray
    rows: np.ndarray
    templates: tuple[str, ...]
    context: int

    @property
    def is_measurable(self) -> bool:
        """Whether a ranking of these images can be right or wrong: there must be two classes or two captions."""
        captions = {text.lower() for image in self.images for text in image.captions}
        return len({image.label for image in self.images} - {""}) > 1 or len(captions) > 1

    @torch.no_grad()
    def measure(self, trainer: Trainer) -> dict[str, float]:
        """Return figures in 0..1 by name: 'caption → image recall@10', 'class name → images mAP@10', …"""
        trainer.network.eval()

        def embed_images(rows: np.ndarray) -> np.ndarray:
            pixels = torch.from_numpy(self.pixels[rows]).to(trainer.device)
            return unit(trainer.embed_images(trainer.normalize(pixels)).cpu().numpy())

        def embed_texts(texts: Sequence[str]) -> np.ndarray:
            tokens = tokenize(texts, self.context)
            cut = torch.from_numpy(tokens[:, : tokens.argmax(axis=1).max() + 1])
            embedded: np.ndarray = trainer.embed_tokens(cut.to(trainer.device)).cpu().numpy()
            return embedded

        parts = [embed_images(self.rows[start : start + _AT_ONCE]) for start in range(0, len(self.rows), _AT_ONCE)]
        paths = [image.row.path for image in self.images]
        table = EmbeddingTable(np.arange(len(paths)), paths, [], np.concatenate(parts))
        evaluator = Evaluator(table, self._truth(), embed_texts, self.templates)
        query_sets: list[tuple[QuerySet, Corpus]] = []
        if len(evaluator.truth.classes) > 1:
            query_sets.append((evaluator.class_names(), evaluator.images))
        if evaluator.truth.captions:
            captions = evaluator.captions()
            query_sets.append((evaluator.captions_to_images(captions), evaluator.images))
            query_sets.append((evaluator.images_to_captions(), captions))
        figures: dict[str, float] = {}
        for queries, corpus in query_sets:
            # No confidence intervals, unlike `evaluate`: the resampling would take longer than a short epoch.
            ranks = ranks_of(queries.vectors, corpus.vectors, queries.relevant)
            figures |= {f"{queries.title} {name}": float(per_query(name, ranks).mean()) for name in queries.metrics}
        return figures

    def _truth(self) -> GroundTruth:
        labels = {number: image.label for number, image in enumerate(self.images) if image.label}
        captions = [Caption(number, text) for number, image in enumerate(self.images) for text in image.captions]
        return GroundTruth(labels, [captions[number] for number in sample(len(captions), _MAX_CAPTIONS, 0)])


def score(figures: dict[str, float]) -> float:
    """Return the score that selects the best epoch: the mean reciprocal rank of a text's first relevant image."""
    return float(
        np.mean([value for name, value in figures.items() if name.endswith(" MRR") and not name.startswith("image")])
    )


def describe(figures: dict[str, float]) -> str:
    """Return the main figures on one line."""
    names = ("caption → image recall@1", "caption → image recall@10", "class name → images precision@10")
    return ", ".join(f"{name} {100 * figures[name]:.1f} %" for name in names if name in figures)
