"""RunFolder: the options, checkpoint, best weights and result of a run. It stays consistent if the run is killed."""

from __future__ import annotations

import datetime
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import InputError, ModelError
from ..files import remove_parts, write_atomically, write_json
from ..models.fingerprint import sha256_of
from ..models.model_folder import CARD_FILE, NEXT_FILE, WEIGHTS_FILE
from ..models.spec import ModelSpec, card_values
from .trainer import Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES_FILE = "learning-curves.png"
WORK, RUN_FILE, CHECKPOINT_FILE = "work", "run.json", "checkpoint.pt"


@dataclass
class Progress:
    """The progress of a run: `step` steps into `epoch`, both counted from 0.

    losses: one for each step of this epoch.
    history: epoch, loss, score and figures of each measurement.
    """

    epoch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = -1  # 0 stands for the start weights


class RunFolder:
    """The folder `--out`, which contains `work/` until the run is finished.

    Args:
        identity: everything that determines the result, see `TrainOptions.identity`.
        restart: discard an existing run.

    Raises:
        InputError: the folder holds other files, or a run with other options.
    """

    def __init__(self, out: Path, identity: dict[str, Any], restart: bool) -> None:
        self.out, self.work, self.identity = out, out / WORK, identity
        known: dict[str, Any] = _read_json(self.work / RUN_FILE) or _read_json(out / CARD_FILE).get("run") or {}
        if not known and _holds_other_files(out):
            raise InputError(f"{out} exists and no training run made it: name another folder with --out")
        if restart and known:  # a finished model stays until the new one replaces it
            shutil.rmtree(self.work, ignore_errors=True)
            self.work.mkdir()
            write_json(self.work / RUN_FILE, identity)
            known = identity
        different = [name for name in identity if known and known.get(name) != identity[name]]
        if different:
            changes = ", ".join(f"{name} {_brief(known.get(name))} → {_brief(identity[name])}" for name in different)
            raise InputError(
                f"{out} holds a run with other options ({changes}): give those, another --out, or --restart"
            )
        self.saved_at = time.monotonic()
        self.is_finished = (out / CARD_FILE).is_file() and not (self.work / RUN_FILE).is_file()
        if not self.is_finished:
            self.work.mkdir(parents=True, exist_ok=True)
            for folder in (out, self.work):
                remove_parts(folder)
            write_json(self.work / RUN_FILE, identity)

    def read_card(self) -> dict[str, Any]:
        """Return the card of a finished run."""
        card: dict[str, Any] = json.loads((self.out / CARD_FILE).read_text(encoding="utf-8"))
        return card

    def save(self, trainer: Trainer, progress: Progress) -> None:
        """Write the checkpoint, then remove the weights of epochs that it no longer needs."""
        cuda = torch.cuda.get_rng_state_all() if trainer.device.startswith("cuda") else []
        checkpoint = {
            "network": trainer.network.state_dict(), "optimiser": trainer.optimiser.state_dict(),
            "scaler": trainer.scaler.state_dict(), "random": torch.get_rng_state(), "cuda": cuda,
            "progress": vars(progress),
        }  # fmt: skip
        write_atomically(self.work / CHECKPOINT_FILE, lambda part: torch.save(checkpoint, part))
        self.saved_at = time.monotonic()
        for file in self.work.glob("epoch-*.safetensors"):
            if file != self._weights_of(progress.best_epoch):
                file.unlink()

    def load(self, trainer: Trainer) -> Progress:
        """Restore the last checkpoint; without one, return the progress of a new run.

        Raises:
            ModelError: the checkpoint is damaged.
        """
        path = self.work / CHECKPOINT_FILE
        if not path.is_file():
            return Progress()
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            trainer.network.load_state_dict(saved["network"])
            trainer.optimiser.load_state_dict(saved["optimiser"])
            trainer.scaler.load_state_dict(saved["scaler"])
            torch.set_rng_state(saved["random"])
            if saved["cuda"]:
                torch.cuda.set_rng_state_all(saved["cuda"])
            return Progress(**saved["progress"])
        except Exception as error:
            reason = " ".join(str(error).split())[:120]
            raise ModelError(f"{path} is damaged ({reason}): start over with --restart") from error

    def save_weights(self, state: Mapping[str, torch.Tensor], epoch: int) -> None:
        """Write the weights of the best epoch so far, as safetensors under CLIP's own names."""
        from safetensors.torch import save_file

        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        write_atomically(self._weights_of(epoch), lambda part: save_file(tensors, part))

    def finish(self, spec: ModelSpec, trained: int, held_out: int, progress: Progress) -> dict[str, Any]:
        """Install the best epoch's weights and a card about them, and mark the run as finished; return the card.

        `after` in the card holds the figures of the best trained epoch, even if `best_epoch` is 0.
        """
        kept, history = self._weights_of(progress.best_epoch), progress.history
        trained_best = max(history[1:], key=lambda entry: float(entry["score"]))
        curves = draw_curves(history, progress.best_epoch)
        write_atomically(self.out / CURVES_FILE, lambda part: curves.savefig(part, format="png", dpi=110))
        licence = f"that of {spec.name}: {spec.licence}" if spec.licence else "yours"
        card = {
            "name": self.out.resolve().name, "base": spec.name, **card_values(spec), "sha256": sha256_of(kept),
            "date": datetime.date.today().isoformat(),
            "licence": f"{licence}; and that of the images and texts it was trained on",
            "images": {"trained": trained, "held_out": held_out}, "best_epoch": progress.best_epoch,
            "before": history[0]["figures"], "after": trained_best["figures"],
            "history": [{**entry, "loss": entry["loss"] if np.isfinite(entry["loss"]) else None} for entry in history],
            "run": self.identity,
        }  # fmt: skip
        self._put(kept, card)
        (self.work / RUN_FILE).unlink()
        shutil.rmtree(self.work)
        return self.read_card()

    def _put(self, weights: Path, card: dict[str, Any]) -> None:
        """Install weights and card. An existing model stays usable at every moment, as the old or the new one."""
        if (self.out / CARD_FILE).is_file():
            write_atomically(self.out / NEXT_FILE, lambda part: shutil.copyfile(weights, part))
            write_json(self.out / CARD_FILE, {**card, "weights": NEXT_FILE})
        write_atomically(self.out / WEIGHTS_FILE, lambda part: shutil.copyfile(weights, part))
        write_json(self.out / CARD_FILE, card)
        (self.out / NEXT_FILE).unlink(missing_ok=True)

    def _weights_of(self, epoch: int) -> Path:
        return self.work / f"epoch-{epoch}.safetensors"


def draw_curves(history: list[dict[str, Any]], best: int) -> Figure:
    """Draw the loss and the held-out figures over the epochs."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([entry["epoch"] for entry in history[1:]], [entry["loss"] for entry in history[1:]], marker=".")
    left.set(title="training loss", xlabel="epoch")
    epochs = [entry["epoch"] for entry in history]
    for name in history[0]["figures"]:
        if not name.startswith("image"):
            right.plot(epochs, [100 * entry["figures"][name] for entry in history], marker=".", label=name)
    chosen = [100 * entry["score"] for entry in history]
    right.plot(epochs, chosen, color="black", linewidth=2.5, label="mean MRR, which chooses the epoch")
    right.axvline(best, color="grey", linestyle=":", label="kept")
    right.set(title="held out, as it would be written (MRR × 100, else %)", xlabel="epoch")
    right.legend(fontsize=7)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _holds_other_files(out: Path) -> bool:
    """Return whether the folder holds more than what a run leaves if it is killed right after its start."""
    if not out.is_dir():
        return out.exists()
    work = out / WORK
    return bool(set(out.rglob("*")) - {work, *work.glob(f".{RUN_FILE}.*.part")})


def _brief(value: object) -> str:
    return str(value)[:12] if value not in ("", None) else "none"
