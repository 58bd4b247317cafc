"""`train`: a training run from start to end, which continues a killed run."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..evaluation.prompts import read_templates
from ..forks import refuse_fork
from ..indexing.reject_file import RejectFile
from ..models.fingerprint import fingerprint
from ..models.networks import build_network
from ..models.pytorch_runtime import choose_device, fast_dtype, limit_threads
from ..models.spec import ModelSpec
from ..models.weights import locate
from .data import Data, prepare
from .dataset import Interrupted, OnProgress, read_images
from .held_out import describe, score
from .hooks import Hooks, Say, stop_on_ctrl_c
from .model import interpolate, random_network
from .options import TrainOptions
from .run_folder import RunFolder
from .trainer import Trainer, rate_at

# An epoch that ends sooner after a checkpoint writes none of its own: that of a large model takes seconds to write.
_SAVE_SECONDS = 20.0
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `card` is the content of model.json, None if the run was interrupted."""

    card: dict[str, Any] | None
    rejected: int = 0
    rejects_file: str = ""


def train(
    options: TrainOptions, *, restart: bool = False, rejects: str = "",
    on_progress: OnProgress = lambda done, total, title, **figures: None, say: Say = lambda line: None,
) -> Outcome:  # fmt: skip
    """Train a model on a CSV of images and texts and write it into a folder.

    After a kill at any moment, the same call continues from the last checkpoint and ends with the same weights, bit for
    bit (on the same machine, with the same number of threads).

    Args:
        restart: start over if the folder holds another run.
        rejects: CSV file for the list of images that cannot be used; '' for rejected.csv.
        on_progress: called with the number of images done, their total, the name of the activity, and figures by name.
        say: called with a line after each measurement.

    Raises:
        InputError: an option, the CSV or the folder cannot be used.
        ModelError: the start weights, a checkpoint or the device cannot be used.
    """
    refuse_fork()
    options = options.resolved()
    templates = read_templates(options.templates)
    spec = options.start_spec()
    _refuse_in_place(options, spec)
    weights = None if options.from_scratch else locate(spec, options.weights)
    images = read_images(options.csv)
    validation = read_images(options.validation) if options.validation else []
    reject_file = RejectFile(rejects)
    identity = options.identity(fingerprint(weights) if weights else "")
    folder = RunFolder(Path(options.out).expanduser(), identity, restart)
    if folder.is_finished:
        shutil.rmtree(folder.work, ignore_errors=True)
        return Outcome(folder.read_card())
    device = choose_device(options.device)
    limit_threads(options.threads)
    if device.startswith("cuda"):
        torch.use_deterministic_algorithms(True, warn_only=True)
    with stop_on_ctrl_c() as is_stopped:
        hooks = Hooks(on_progress, say, is_stopped)
        try:
            data = prepare(options, spec, images, validation, templates, folder.work, reject_file, hooks)
            run = _Run(options, folder, data, _trainer(options, spec, weights, device), hooks)
            run.finish_epochs()
        except Interrupted:
            return Outcome(None)
    card = folder.finish(spec, data.trained, len(data.held_out.rows), run.progress)
    return Outcome(card, data.rejected, data.rejects_file)


def _refuse_in_place(options: TrainOptions, spec: ModelSpec) -> None:
    """Refuse to overwrite what the run starts from: a killed run could be neither continued nor repeated."""
    out = Path(options.out).expanduser().resolve()
    starts = {"model": spec.weights.path, "weights": options.weights, "config": options.config}
    for name, file in starts.items():
        if file and Path(file).expanduser().parent.resolve() == out:
            raise InputError(f"--out {options.out} is the folder of --{name}: name another folder for the result")


def _trainer(options: TrainOptions, spec: ModelSpec, weights: Path | None, device: str) -> Trainer:
    torch.manual_seed(options.seed)
    if weights is None:
        network = random_network(options.seed, spec.architecture, spec.activation)
    else:
        network = build_network(spec, weights)
    fast = torch.float32 if device.startswith("mps") else fast_dtype(device)
    return Trainer(network, spec, options, device, _DTYPES.get(options.precision, fast))


class _Run:
    """The epochs of a run, from the last checkpoint to the end."""

    def __init__(self, options: TrainOptions, folder: RunFolder, data: Data, trainer: Trainer, hooks: Hooks) -> None:
        self._options, self._folder, self._data, self._trainer, self._hooks = options, folder, data, trainer, hooks
        self._start = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
        self._total = data.loader.steps * options.epochs
        self._warmup = max(1, round(options.warmup * self._total))
        self.progress = folder.load(trainer)

    def finish_epochs(self) -> None:
        """Train the remaining epochs, or fewer if the patience runs out."""
        progress = self.progress
        if not progress.history:
            self._measure(float("nan"))
        while progress.epoch < self._options.epochs and not self._is_out_of_patience():
            self._train_epoch()
            self._measure(float(np.mean(progress.losses)))

    def _train_epoch(self) -> None:
        progress, loader = self.progress, self._data.loader
        self._trainer.begin_epoch(progress.epoch)
        for batch in loader.epoch(progress.epoch, progress.step):
            done = progress.epoch * loader.steps + progress.step
            loss = self._trainer.step(batch, rate_at(done, self._total, self._warmup, self._options.lr))
            progress.losses.append(loss)
            progress.step += 1
            images = len(batch.pixels)
            self._hooks.on_progress((done + 1) * images, self._total * images, "training", loss=loss)
            stopped = self._hooks.is_stopped()
            if stopped or (done + 1) % self._options.checkpoint_every == 0:
                self._folder.save(self._trainer, progress)
            if stopped:
                raise Interrupted
        progress.epoch, progress.step = progress.epoch + 1, 0

    def _measure(self, loss: float) -> None:
        """Measure the weights that would be written now, and save them if they are the best so far.

        The first weights measured are those of the start. On a tie the earlier weights stay.
        """
        progress, network = self.progress, self._trainer.network
        mixed = self._start
        if progress.epoch > 0:
            mixed = interpolate(self._start, network.state_dict(), self._options.wise_ft)
        tuned = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        network.load_state_dict(mixed)
        figures = self._data.held_out.measure(self._trainer)
        network.load_state_dict(tuned)
        progress.history.append({"epoch": progress.epoch, "loss": loss, "score": score(figures), "figures": figures})
        is_best = progress.best_epoch < 0 or score(figures) > self._best_score()
        if is_best:
            self._folder.save_weights(mixed, progress.epoch)
            progress.best_epoch = progress.epoch
        progress.losses = []
        if time.monotonic() - self._folder.saved_at > _SAVE_SECONDS:  # else a killed run repeats it with equal result
            self._folder.save(self._trainer, progress)
        where = f"epoch {progress.epoch}/{self._options.epochs}, loss {loss:.3f}" if progress.epoch else "before"
        best = ", the best so far" if is_best and progress.epoch else ""
        self._hooks.say(f"{where}: {describe(figures)}{best}")

    def _best_score(self) -> float:
        return float(self.progress.history[self.progress.best_epoch]["score"])

    def _is_out_of_patience(self) -> bool:
        patience, progress = self._options.patience, self.progress
        return 0 < patience <= progress.epoch - progress.best_epoch
