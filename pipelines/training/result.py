"""What a finished run leaves: the weights, the card that `--model` reads, the learning curves."""

from __future__ import annotations

import datetime
import json
import os
import shutil
from pathlib import Path
from typing import Any

from ..files import write_atomically
from ..models.spec import CARD_FILE, WEIGHTS_FILE, ModelSpec, card_values
from ..models.weights import fingerprint
from .files import save_json
from .options import TrainOptions
from .state import Progress, RunFolder

CURVES_FILE = "learning-curves.png"


def read_card(out: Path) -> dict[str, Any]:
    """The card of a finished run."""
    card: dict[str, Any] = json.loads((out / CARD_FILE).read_text(encoding="utf-8"))
    return card


def write(
    options: TrainOptions, spec: ModelSpec, folder: RunFolder, trained: int, held_out: int, progress: Progress
) -> dict[str, Any]:
    """Puts the best epoch's weights in place and says what they are; the card, written last, says it is finished."""
    out = folder.out
    best = folder.best_file(progress.best_epoch)
    write_atomically(out / WEIGHTS_FILE, lambda part: _link(best, part))
    write_atomically(out / CURVES_FILE, lambda part: draw_curves(progress.history, progress.best_epoch, part))
    licence = f"that of {spec.name}: {spec.licence}" if spec.licence else "yours"
    card = {
        "name": out.resolve().name, "base": spec.name, **card_values(spec),
        "sha256": fingerprint(out / WEIGHTS_FILE), "date": datetime.date.today().isoformat(),
        "licence": f"{licence}; and that of the images and texts it was trained on",
        "images": {"trained": trained, "held_out": held_out},
        "best_epoch": progress.best_epoch,
        "before": progress.history[0]["figures"], "after": progress.history[progress.best_epoch]["figures"],
        "history": [{**entry, "loss": entry["loss"] if entry["epoch"] else None} for entry in progress.history],
        "run": folder.identity,
    }  # fmt: skip
    save_json(card, out / CARD_FILE)
    shutil.rmtree(folder.work)
    return read_card(out)


def _link(source: Path, target: Path) -> None:
    """A second name where the disk can, else a copy."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def draw_curves(history: list[dict[str, Any]], best: int, path: Path) -> None:
    """Loss, and held-out figures, over the epochs, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([entry["epoch"] for entry in history[1:]], [entry["loss"] for entry in history[1:]], marker=".")
    left.set(title="training loss", xlabel="epoch")
    for name in history[0]["figures"]:
        if not name.startswith("image"):
            right.plot(
                [entry["epoch"] for entry in history], [100 * entry["figures"][name] for entry in history],
                marker=".", label=name,
            )  # fmt: skip
    right.axvline(best, color="grey", linestyle=":", label="kept")
    right.set(title="held out, as it would be written (MRR × 100, else %)", xlabel="epoch")
    right.legend(fontsize=7)
    figure.savefig(path, format="png", dpi=110)
