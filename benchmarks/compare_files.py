"""Which images does this program read differently from Pillow, and why? `python -m benchmarks.compare_files FOLDER`

Decode every image below a folder with this program, and with Pillow by the usual
`exif_transpose(Image.open(…)).convert("RGB")`. If they differ, apply each known reason to Pillow's result: the one that
makes both equal explains the difference. The exit status is 1 if a difference remains unexplained.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from tabulate import tabulate

from pipelines.errors import UnreadableImage
from pipelines.fetch.read import read_file
from pipelines.images.decode import decode
from pipelines.sources.folder import IMAGE_SUFFIXES

EQUAL = 1.0  # largest mean difference (of 255 levels) that counts as equal: JPEG and CMYK decoders round differently
SHOWN = 200  # maximum number of files to list
UNEXPLAINED = "?"


class Comparison(NamedTuple):
    """One file. `difference` is the mean of all levels: infinite if the shapes differ, NaN if a side cannot read it."""

    path: str
    what: str
    why: str = ""
    difference: float = 0.0


def compare(path: str) -> Comparison:
    """Decode a file both ways and compare the pixels."""
    ours, reason = _attempt(lambda: decode(read_file(path)))
    theirs, error = _attempt(lambda: np.asarray(_open(path).convert("RGB")))
    if ours is None:
        return Comparison(path, "neither reads" if theirs is None else "only Pillow reads", reason, np.nan)
    if theirs is None:
        return Comparison(path, "only this program reads", error, np.nan)
    difference = _difference(ours, theirs)
    if difference <= EQUAL:
        return Comparison(path, "equal", "", difference)
    why = next((why for why, pixels in _explanations(path) if _difference(ours, pixels) <= EQUAL), UNEXPLAINED)
    return Comparison(path, "other pixels" if difference < np.inf else "another shape", why, difference)


def _attempt(read: Callable[[], np.ndarray]) -> tuple[np.ndarray | None, str]:
    try:
        return read(), ""
    except UnreadableImage as error:
        return None, str(error)
    except Exception as error:  # Pillow's plugins raise almost any exception
        return None, f"Pillow: {type(error).__name__}"


def _open(path: str) -> Image.Image:
    # Pillow starts Ghostscript for EPS, and reads the other three only with a handler that is not part of it.
    Image.init()
    image = Image.open(path, formats=[name for name in Image.OPEN if name not in ("EPS", "WMF", "GRIB", "HDF5")])
    return ImageOps.exif_transpose(image)


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the mean difference, infinite if the shapes differ."""
    return float(np.abs(ours.astype(int) - theirs).mean()) if ours.shape == theirs.shape else np.inf


def _explanations(path: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each known difference, and the pixels that Pillow would return without it."""
    image = _open(path)
    if image.has_transparency_data:
        over = image.convert("RGBA")
        yield (
            "transparency is laid over white; Pillow shows the colour under it",
            np.asarray(Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")),
        )
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        high = np.where(values == image.info.get("transparency", -1), 255, (values >> 8).clip(0, 255))
        yield "16 bits are scaled; Pillow cuts them at 255", np.repeat(high[..., None], 3, -1)
    if image.info.get("default_image"):
        animation = Image.open(path)
        animation.seek(1)
        yield "the animation's first frame; Pillow shows the image in front of it", np.asarray(animation.convert("RGB"))
    upright = np.asarray(image.convert("RGB"))
    for flipped in (upright, upright[:, ::-1]):
        for turns in range(4):
            yield "an orientation that exif_transpose does not see", np.rot90(flipped, turns)


def images_below(folder: Path) -> list[str]:
    """Return the files whose suffix this program or Pillow knows."""
    Image.init()
    suffixes = IMAGE_SUFFIXES | Image.registered_extensions().keys()
    found = (os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return sorted(path for path in found if os.path.splitext(path)[1].lower() in suffixes and os.path.isfile(path))


def main() -> int:
    """Print the counts, then each file that differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    compared = [compare(path) for path in images_below(folder)]
    counts = Counter((one.what, one.why) for one in compared)
    rows = [(what, why, f"{count:,}") for (what, why), count in counts.most_common()]
    print(
        tabulate(rows, ["compared with Pillow", "why", "files"], tablefmt="github", colalign=("left", "left", "right"))
    )
    names = [
        (os.path.relpath(one.path, folder), one.what, f"{one.difference:.1f}", one.why)
        for one in compared
        if one.what not in ("equal", "neither reads")
    ]
    if names:
        print("\n" + tabulate(names[:SHOWN], ["file", "what", "mean difference", "why"], tablefmt="github"))
    print(
        f"\n{len(compared):,} images, {len(names):,} read otherwise, {len(names) - min(len(names), SHOWN):,} not shown"
    )
    return int(any(one.why == UNEXPLAINED for one in compared))


if __name__ == "__main__":
    sys.exit(main())
