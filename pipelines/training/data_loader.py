"""DataLoader: the batches of each epoch, determined by seed and epoch, and their random augmentation."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from .dataset import Texts

_PREFETCHED = 2
# Number of images that share one crop window. Its size differs between groups, so each group is resized separately.
_CROPPED_TOGETHER = 32
_SMALLEST_CROP = 2 / 3
_GREY_SHARE = 0.05


@dataclass(frozen=True)
class Batch:
    """Images of one step and a text for each.

    pixels: uint8[n, size, size, 3].
    tokens: int64[n, length], cut after the longest text.
    relevant: bool[n, n], whether text j is relevant to image i.
    """

    pixels: np.ndarray
    tokens: np.ndarray
    relevant: np.ndarray


class DataLoader:
    """Epochs over some images: each image once, with one of its texts. An incomplete last batch is dropped.

    Args:
        pixels: uint8[images, size, size, 3].
        rows: the images to train on; `texts` covers all of `pixels`.
    """

    def __init__(self, pixels: np.ndarray, rows: np.ndarray, texts: Texts, batch: int, seed: int) -> None:
        self._pixels, self._rows, self._texts, self._seed = pixels, rows, texts, seed
        self._batch = min(batch, len(rows))
        self.steps = len(rows) // self._batch

    def epoch(self, number: int, first: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, from step `first`. A thread that never calls PyTorch prefetches them."""
        random = np.random.default_rng([self._seed, number])
        order = random.permutation(self._rows)[: self.steps * self._batch].reshape(self.steps, self._batch)
        draws = random.random((self.steps, self._batch, 2))
        with ThreadPoolExecutor(1, thread_name_prefix="loader") as pool:
            pending: deque[Future[Batch]] = deque()
            for step in range(first, self.steps):
                pending.append(pool.submit(self._gather, order[step], draws[step]))
                if len(pending) > _PREFETCHED:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def _gather(self, images: np.ndarray, draws: np.ndarray) -> Batch:
        texts = self._texts
        numbers, rows = [], []
        for image, (which, how) in zip(images.tolist(), draws, strict=True):
            own = texts.choices[image]
            number = own[int(which * len(own))]
            phrasings = texts.rows[number]
            numbers.append(number)
            rows.append(phrasings[int(how * len(phrasings))])
        chosen, labels = np.array(numbers), texts.labels[images]
        relevant = (chosen[:, None] == chosen[None, :]) | (labels[:, None] == chosen[None, :])
        tokens = texts.tokens[rows].astype(np.int64)
        longest = int(tokens.argmax(axis=1).max()) + 1
        return Batch(self._pixels[images], tokens[:, :longest], relevant)


def crop_and_flip(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """Crop a random square from each image and mirror about half of them.

    uint8[n, h, h, 3] → float32[n, 3, size, size] in 0..255. A square's side is at least two thirds of the image's.
    """
    stored = pixels.shape[1]
    groups = []
    for group in torch.split(pixels, _CROPPED_TOGETHER):
        window = int(torch.randint(int(_SMALLEST_CROP * stored), stored + 1, ()))
        top, left = torch.randint(0, stored - window + 1, (2,)).tolist()
        part = group[:, top : top + window, left : left + window].permute(0, 3, 1, 2).float()
        if window != size:
            part = F.interpolate(part, size=(size, size), mode="bilinear", antialias=True)
        groups.append(part)
    return flip_half(torch.cat(groups))


def flip_half(batch: torch.Tensor) -> torch.Tensor:
    """Mirror about half of the images, float32[n, 3, size, size]."""
    return torch.where((torch.rand(len(batch), 1, 1, 1) < 0.5).to(batch.device), batch.flip(3), batch)


def jitter(batch: torch.Tensor, strength: float = 1.0, grey_share: float = _GREY_SHARE) -> torch.Tensor:
    """Change brightness, contrast, saturation and tint of float32[n, 3, size, size] in 0..1; make some images grey."""

    def around_one(spread: float, channels: int = 1) -> torch.Tensor:
        return torch.empty(len(batch), channels, 1, 1).uniform_(1 - strength * spread, 1 + strength * spread)

    grey = batch.mean(1, keepdim=True)
    saturation = around_one(0.3) * (torch.rand(len(batch), 1, 1, 1) >= grey_share)
    batch = grey + (batch - grey) * saturation.to(batch.device)
    middle = batch.mean((1, 2, 3), keepdim=True)
    batch = middle + (batch - middle) * around_one(0.3).to(batch.device)
    brightness = around_one(0.25) * around_one(0.07, channels=3)
    return (batch * brightness.to(batch.device)).clamp_(0, 1)
