"""What is drawn in an epoch, decided by seed and epoch alone, and the loader that gathers it beside the training."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .pairs import Texts

_AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """Images of one step and a text for each.

    pixels: uint8[n, size, size, 3]; tokens: int64[n, length], cut after the longest; right: bool[n, n], whether text j
    is right for image i.
    """

    pixels: np.ndarray
    tokens: np.ndarray
    right: np.ndarray


class Lessons:
    """The epochs over some images: every image once, with one of its texts; what does not fill a batch waits.

    Args:
        pixels: uint8[images, size, size, 3].
        rows: those of them to train on; `texts` is about all of `pixels`.
    """

    def __init__(self, pixels: np.ndarray, rows: np.ndarray, texts: Texts, batch: int, seed: int) -> None:
        self._pixels, self._rows, self._texts, self._seed = pixels, rows, texts, seed
        self._batch = min(batch, len(rows))
        self.steps = len(rows) // self._batch

    def epoch(self, number: int, first: int) -> Iterator[Batch]:
        """The batches of an epoch from step `first` on, gathered by a thread that never calls PyTorch."""
        random = np.random.default_rng([self._seed, number])
        order = random.permutation(self._rows)[: self.steps * self._batch].reshape(self.steps, self._batch)
        draws = random.random((self.steps, self._batch, 2))
        waiting: queue.Queue[Batch | BaseException | None] = queue.Queue(_AHEAD)
        given_up = threading.Event()

        def gather() -> None:
            try:
                for step in range(first, self.steps):
                    if given_up.is_set():
                        return
                    waiting.put(self._gather(order[step], draws[step]))
                waiting.put(None)
            except BaseException as error:
                waiting.put(error)

        thread = threading.Thread(target=gather, name="loader", daemon=True)
        thread.start()
        try:
            while (batch := waiting.get()) is not None:
                if isinstance(batch, BaseException):
                    raise batch
                yield batch
        finally:
            given_up.set()
            while thread.is_alive():  # it may wait for room
                try:
                    waiting.get(timeout=0.05)
                except queue.Empty:
                    continue

    def _gather(self, images: np.ndarray, draws: np.ndarray) -> Batch:
        texts = self._texts
        numbers, rows = [], []
        for image, (which, how) in zip(images.tolist(), draws, strict=True):
            own = texts.choices[image]
            number = own[int(which * len(own))]
            ways = texts.rows[number]
            numbers.append(number)
            rows.append(ways[int(how * len(ways))])
        told, labels = np.array(numbers), texts.labels[images]
        right = (told[:, None] == told[None, :]) | (labels[:, None] == told[None, :])
        tokens = texts.tokens[rows].astype(np.int64)
        longest = int(tokens.argmax(axis=1).max()) + 1
        return Batch(self._pixels[images], tokens[:, :longest], right)
