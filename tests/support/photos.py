"""Folders of small images and the CSVs that list them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image


class Photos(NamedTuple):
    """A folder of images and the CSV that lists them."""

    folder: Path
    csv: Path
    paths: list[Path]


def draw_images(folder: Path, count: int, size: tuple[int, int] = (96, 72)) -> list[Path]:
    """Draw distinct colour images, smooth enough to stay distinct as JPEG."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    paths = []
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        paths.append(folder / f"{number:05}.jpg")
        coarse.resize(size, Image.Resampling.BICUBIC).save(paths[-1], quality=92)
    return paths


def draw_photos(folder: Path) -> Photos:
    """Draw twelve images and list them in a CSV with id, path, label, year."""
    paths = draw_images(folder / "photos", 12)
    rows = [[number, f"photos/{path.name}", f"label{number % 3}", 2010 + number] for number, path in enumerate(paths)]
    return Photos(folder / "photos", write_csv(folder / "photos.csv", ["id", "path", "label", "year"], rows), paths)


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    """Write a CSV in UTF-8."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path
