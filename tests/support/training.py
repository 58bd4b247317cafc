"""Drawn images and short runs for the tests of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from pipelines.training.options import TrainOptions

COLOURS = {"teal": (0, 128, 128), "maroon": (128, 0, 0), "ochre": (204, 119, 34), "lilac": (200, 162, 200)}
SHAPES = ("disc", "bar", "frame", "wedge")


def draw(path: Path, colour: str, shape: str, random: np.random.Generator) -> None:
    """Draw a coloured shape at a random place on grey."""
    image = Image.new("RGB", (64, 64), tuple(int(v) for v in random.integers(90, 160, 3)))
    left, top = (int(v) for v in random.integers(4, 20, 2))
    box, pen = (left, top, left + 38, top + 38), ImageDraw.Draw(image)
    fill = COLOURS[colour]
    if shape == "disc":
        pen.ellipse(box, fill=fill)
    elif shape == "bar":
        pen.rectangle((left, top + 14, left + 38, top + 24), fill=fill)
    elif shape == "frame":
        pen.rectangle(box, outline=fill, width=7)
    else:
        pen.polygon([(left, top + 38), (left + 19, top), (left + 38, top + 38)], fill=fill)
    image.save(path, quality=92)


def short_run(csv: Path, out: Path, **changes: object) -> TrainOptions:
    """Return the options of a short run."""
    values = {"epochs": 2, "batch": 12, "lr": 1e-3, "holdout": 0.2, "checkpoint_every": 1, "precision": "fp32"}
    return TrainOptions(str(csv), str(out), **{**values, **changes})  # type: ignore[arg-type]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")
