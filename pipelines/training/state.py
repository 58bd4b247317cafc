"""The folder of a run: what it was asked, where it is, and its best weights so far. Whole whenever it is killed."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError, ModelError
from ..files import part_path
from ..models.spec import CARD_FILE
from .files import save_atomically, save_json
from .learner import Learner

WORK, RUN_FILE = "work", "run.json"


@dataclass
class Progress:
    """Where a run is: `step` steps into `epoch`, counted from 0; losses of this epoch; figures of those before."""

    epoch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = -1


class RunFolder:
    """OUT, and in it `work/` for as long as the run is not finished.

    Raises:
        InputError: OUT holds something else, or a run with other options.
    """

    def __init__(self, out: Path, identity: dict[str, Any], restart: bool) -> None:
        self.out, self.work = out, out / WORK
        known = self._read(out / CARD_FILE).get("run") or self._read(self.work / RUN_FILE)
        if not known and _is_foreign(out):
            raise InputError(f"{out} exists and no training run made it: name another folder with --out")
        if restart and known:
            shutil.rmtree(self.work, ignore_errors=True)
            self.work.mkdir()
            save_json(identity, self.work / RUN_FILE)  # before the card goes: the folder is never anybody's
            (out / CARD_FILE).unlink(missing_ok=True)
            known = identity
        different = [name for name in identity if known and known.get(name) != identity[name]]
        if different:
            changes = ", ".join(f"{name} {_brief(known.get(name))} → {_brief(identity[name])}" for name in different)
            raise InputError(
                f"{out} holds a run with other options ({changes}): give those, another --out, or --restart"
            )
        self.saved_at = time.monotonic()
        self.finished = (out / CARD_FILE).is_file()
        self.identity = identity
        if not self.finished:
            self.work.mkdir(parents=True, exist_ok=True)
            save_json(identity, self.work / RUN_FILE)

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def best_file(self, epoch: int) -> Path:
        """The weights of an epoch; of the best one, which the checkpoint names, they are there."""
        return self.work / f"epoch-{epoch}.safetensors"

    def save(self, learner: Learner, progress: Progress) -> None:
        """Writes the checkpoint, then forgets weights that it does not name."""
        cuda = torch.cuda.get_rng_state_all() if learner.device.startswith("cuda") else []
        saved = {
            "network": learner.network.state_dict(), "optimiser": learner.optimiser.state_dict(),
            "scaler": learner.scaler.state_dict(), "random": torch.get_rng_state(), "cuda": cuda,
            "progress": vars(progress),
        }  # fmt: skip
        save_atomically(saved, self.work / "checkpoint.pt")
        self.saved_at = time.monotonic()
        for file in self.work.glob("epoch-*.safetensors"):
            if file != self.best_file(progress.best_epoch):
                file.unlink()

    def load(self, learner: Learner) -> Progress:
        """Puts a run back to its last checkpoint; to its start, where there is none."""
        path = self.work / "checkpoint.pt"
        if not path.is_file():
            return Progress()
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            learner.network.load_state_dict(saved["network"])
            learner.optimiser.load_state_dict(saved["optimiser"])
            learner.scaler.load_state_dict(saved["scaler"])
            torch.set_rng_state(saved["random"])
            if saved["cuda"]:
                torch.cuda.set_rng_state_all(saved["cuda"])
            return Progress(**saved["progress"])
        except Exception as error:
            reason = " ".join(str(error).split())[:120]
            raise ModelError(f"{path} is damaged ({reason}): start over with --restart") from error


def _is_foreign(out: Path) -> bool:
    """Whether something else is there than what a run leaves that was killed in its first moment."""
    if not out.is_dir():
        return out.exists()
    work = out / WORK
    return bool(set(out.rglob("*")) - {work, part_path(work / RUN_FILE)})


def _brief(value: object) -> str:
    return str(value)[:12] if value not in ("", None) else "none"
