"""Batches of training images with their texts, drawn at random."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from .data import Photos


class Batch(NamedTuple):
    """Images and the numbers of their labels and captions; the captioned ones come first."""

    rows: torch.Tensor
    pixels: torch.Tensor
    labels: torch.Tensor  # -1 for none
    captions: torch.Tensor  # -1 for none

    def captioned(self) -> int:
        """Return the number of images with a caption."""
        return int((self.captions >= 0).sum())


class Sampler:
    """Draws batches by weight: images with one of their captions or with their label."""

    def __init__(self, photos: Photos, rows: np.ndarray, batch: int, seed: int) -> None:
        self.photos, self.rows, self.batch, self.seed = photos, rows, batch, seed
        self.random = np.random.default_rng(seed)
        self.chances = photos.weights[rows] / photos.weights[rows].sum()
        self.caption_counts = (photos.captions >= 0).sum(1)

    def go_on(self, steps: int) -> None:
        """Continue a resumed run after `steps` steps, with random numbers that differ from theirs."""
        self.random = np.random.default_rng([self.seed, steps])

    def draw(self) -> Batch:
        """Draw a batch; an image may occur twice."""
        rows = self.random.choice(self.rows, self.batch, p=self.chances)
        rows = rows[np.argsort(self.photos.labels[rows] >= 0, kind="stable")]
        pick = (self.random.random(self.batch) * np.maximum(self.caption_counts[rows], 1)).astype(int)
        captions = self.photos.captions[rows, pick]
        chosen = (rows, self.photos.pixels[rows], self.photos.labels[rows], captions)
        return Batch(*map(torch.from_numpy, chosen))
