"""A training run from beginning to end: `train`, which goes on where it was killed."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..evaluation.prompts import read_templates
from ..indexing.rejects import RejectFile
from ..models.pytorch_runtime import choose_device, fast_dtype
from ..models.spec import ModelSpec
from ..models.towers import build_network
from ..models.weights import fingerprint, locate
from . import model, result
from .batches import Lessons
from .files import save_weights
from .image_cache import Interrupted, decode_all, groups_of_equal
from .learner import Learner
from .measure import HeldOut, score, shown
from .optimiser import rate_at
from .options import TrainOptions
from .pairs import Image, number_texts, read_images, split
from .state import Progress, RunFolder

# Short epochs go by without a checkpoint of their own: a large model's takes seconds to write.
_SAVE_SECONDS = 20.0
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Told what is done, of how many, and what else to show.
OnProgress = Callable[..., object]
Say = Callable[[str], object]


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `card` is what model.json holds, None where the run was interrupted."""

    card: dict[str, Any] | None
    rejected: int = 0
    rejects_file: str = ""


@dataclass(frozen=True)
class Material:
    """What there is to learn from and to be measured by."""

    lessons: Lessons
    held_out: HeldOut
    trained: int
    rejected: int
    rejects_file: str


def train(
    options: TrainOptions, *, restart: bool = False, rejects: str = "",
    on_progress: OnProgress = lambda done, total, **extra: None, say: Say = lambda line: None,
) -> Outcome:  # fmt: skip
    """Trains a model on a CSV of images and texts and writes it into a folder.

    Killed at any moment, the same call goes on from the last checkpoint and ends with the same weights, bit for bit
    (on the same machine, with the same number of threads).

    Raises:
        InputError: an option, the CSV or the folder cannot be used.
        ModelError: the start weights or a checkpoint cannot be had, or there is no such device.
    """
    options = options.settled()
    templates = read_templates(options.templates)
    spec = options.start_spec()
    weights = None if options.from_scratch else locate(spec, options.weights)
    identity = options.identity(fingerprint(weights) if weights else "")
    images = read_images(options.csv)
    validation = read_images(options.validation) if options.validation else []
    folder = RunFolder(Path(options.out).expanduser(), identity, restart)
    if folder.finished:
        shutil.rmtree(folder.work, ignore_errors=True)
        return Outcome(result.read_card(folder.out))
    device = choose_device(options.device)
    if device.startswith("cuda"):
        torch.use_deterministic_algorithms(True, warn_only=True)
    with _interruptible() as stopped:
        try:
            material = _prepare(options, spec, images, validation, templates, folder, rejects, on_progress, stopped)
            learner, start = _learner(options, spec, weights, device)
            run = _Run(options, spec, folder, material, learner, start, on_progress, say, stopped)
            run.to_the_end()
        except Interrupted:
            return Outcome(None)
    card = result.write(options, spec, folder, material.trained, len(material.held_out.rows), run.progress)
    return Outcome(card, material.rejected, material.rejects_file)


def _prepare(
    options: TrainOptions, spec: ModelSpec, images: list[Image], validation: list[Image],
    templates: tuple[str, ...], folder: RunFolder, rejects: str, on_progress: OnProgress, stopped: Callable[[], bool],
) -> Material:  # fmt: skip
    """Decodes, leaves out what cannot be used, and divides the images."""
    both = images + validation
    pixels, reasons = decode_all(
        [image.row.path for image in both], spec.image_size, folder.work, "images", options.allow_private_urls,
        on_progress, stopped,
    )  # fmt: skip
    listed = RejectFile(rejects)
    for image, reason in zip(both, reasons, strict=True):
        if reason:
            listed.add(image.row, reason)
    listed.close()
    good = np.array([number for number, reason in enumerate(reasons) if not reason], np.int64)
    groups = groups_of_equal(pixels, good) if good.size else good
    if validation:
        own = good < len(images)
        held = good[~own]
        rows = good[own & ~np.isin(groups, groups[~own])]
    else:
        rows, held = (
            (good[part] for part in split(groups, options.holdout, options.seed)) if good.size else (good, good)
        )
    if len(rows) < 2 or len(held) < 2:
        raise InputError(
            f"{len(rows)} images to train on and {len(held)} to measure on, {len(both) - len(good)} unreadable: "
            "there must be two of each at least"
        )
    context = spec.architecture.context_length
    lessons = Lessons(pixels, rows, number_texts(both, templates, context), options.effective_batch, options.seed)
    held_out = HeldOut([both[row] for row in held], pixels, held, templates, context)
    return Material(lessons, held_out, len(rows), len(both) - len(good), listed.written_to)


def _learner(
    options: TrainOptions, spec: ModelSpec, weights: Path | None, device: str
) -> tuple[Learner, dict[str, torch.Tensor]]:
    """The network before its first step, and a copy of its weights."""
    torch.manual_seed(options.seed)
    if weights is None:
        network = model.build(options.seed, spec.architecture, spec.activation)
    else:
        network = build_network(spec, weights)
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fast = torch.float32 if device.startswith("mps") else fast_dtype(device)
    dtype = _DTYPES.get(options.precision, fast)
    return Learner(network, spec, options, device, dtype), start


class _Run:
    """The epochs."""

    def __init__(
        self, options: TrainOptions, spec: ModelSpec, folder: RunFolder, material: Material, learner: Learner,
        start: dict[str, torch.Tensor], on_progress: OnProgress, say: Say, stopped: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._options, self._folder, self._material = options, folder, material
        self._learner, self._start = learner, start
        self._on_progress, self._say, self._stopped = on_progress, say, stopped
        self._steps = material.lessons.steps
        self._total = self._steps * options.epochs
        self._warmup = max(1, round(options.warmup * self._total))
        self.progress: Progress = folder.load(learner)

    def to_the_end(self) -> None:
        """All epochs that are left, or fewer where the patience ends."""
        progress = self.progress
        if not progress.history:
            self._measure(float("nan"))
        while progress.epoch < self._options.epochs and not self._out_of_patience():
            self._epoch()
            self._measure(float(np.mean(progress.losses)))

    def _epoch(self) -> None:
        progress, every = self.progress, self._options.checkpoint_every
        self._learner.begin_epoch(progress.epoch)
        batches = self._material.lessons.epoch(progress.epoch, progress.step)
        for batch in batches:
            done = progress.epoch * self._steps + progress.step
            loss = self._learner.step(batch, rate_at(done, self._total, self._warmup, self._options.lr))
            progress.losses.append(loss)
            progress.step += 1
            self._on_progress((done + 1) * len(batch.pixels), self._total * len(batch.pixels), loss=loss)
            stopped = self._stopped()
            if stopped or (done + 1) % every == 0:
                self._folder.save(self._learner, progress)
            if stopped:
                raise Interrupted
        progress.epoch, progress.step = progress.epoch + 1, 0

    def _measure(self, loss: float) -> None:
        """The figures of the weights that would be written now; the best ones are kept."""
        progress = self.progress
        mixed = model.interpolate(self._start, self._learner.network.state_dict(), self._options.wise_ft)
        tuned = {name: tensor.clone() for name, tensor in self._learner.network.state_dict().items()}
        self._learner.network.load_state_dict(mixed)
        figures = self._material.held_out.measure(self._learner)
        self._learner.network.load_state_dict(tuned)
        progress.history.append({"epoch": progress.epoch, "loss": loss, "score": score(figures), "figures": figures})
        best = progress.epoch > 0 and (progress.best_epoch < 0 or score(figures) > self._best_score())
        if best:
            save_weights(mixed, self._folder.best_file(progress.epoch))
            progress.best_epoch = progress.epoch
        progress.losses = []
        if time.monotonic() - self._folder.saved_at > _SAVE_SECONDS:  # lost, it is computed again and comes out equal
            self._folder.save(self._learner, progress)
        where = f"epoch {progress.epoch}/{self._options.epochs}, loss {loss:.3f}" if progress.epoch else "before"
        self._say(f"{where}: {shown(figures)}{', the best so far' if best else ''}")

    def _best_score(self) -> float:
        return float(self.progress.history[self.progress.best_epoch]["score"])

    def _out_of_patience(self) -> bool:
        patience, progress = self._options.patience, self.progress
        return 0 < patience <= progress.epoch - max(progress.best_epoch, 0)


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Yields whether Ctrl-C was pressed: a step is never cut in the middle. A second Ctrl-C ends at once."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return

    def press(number: int, frame: object) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
