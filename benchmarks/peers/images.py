"""The images for every peer: copies from a CSV or drawn ones, and a folder with two broken files."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

GOOD_BESIDE_BAD = 6


def collect(source: str, folder: Path, count: int) -> int:
    """Copy images of a CSV, or draw some, into a new folder with an images.csv. Return their number.

    The images are spread evenly over the CSV, whose `path` column is relative to it. Drawn ones have 500×375 pixels.
    """
    folder.mkdir(parents=True)
    if source:
        table = Path(source)
        with open(table, newline="", encoding="utf-8-sig") as file:
            found = [table.parent / row["path"] for row in csv.DictReader(file)]
        count = min(count, len(found))
        for number in range(count):
            shutil.copyfile(found[number * len(found) // count], folder / f"{number:05}.jpg")
    else:
        draw(folder, count)
    return write_table(folder)


def draw(folder: Path, count: int) -> None:
    """Draw JPEGs of 500×375 pixels in smooth random colours, which decode as slowly as photographs or a bit faster."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 255, (24, 32, 3), dtype=np.uint8))
        image = coarse.resize((500, 375), Image.Resampling.BICUBIC)
        image.save(folder / f"{number:05}.jpg", quality=90)


def subset(source: Path, folder: Path, count: int) -> int:
    """Copy the first images of a folder into a new folder with an images.csv, and return their number."""
    folder.mkdir(parents=True)
    for path in _images(source)[:count]:
        shutil.copyfile(path, folder / path.name)
    return write_table(folder)


def add_bad(source: Path, folder: Path) -> int:
    """Put half a JPEG and an HTML page named .jpg between good images. Return the number of good ones."""
    good = subset(source, folder, GOOD_BESIDE_BAD)
    whole = _images(source)[0].read_bytes()
    middle = f"{good // 2:05}"
    (folder / f"{middle}a-truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / f"{middle}b-page.jpg").write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>\n")
    write_table(folder)
    return good


def write_table(folder: Path) -> int:
    """Write images.csv (id,path) for the images of a folder, sorted by name, and return their number."""
    paths: Sequence[Path] = _images(folder)
    with open(folder / "images.csv", "w", newline="") as file:
        csv.writer(file).writerows([["id", "path"], *([number, str(path)] for number, path in enumerate(paths))])
    return len(paths)


def _images(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jpg"))
