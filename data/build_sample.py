"""Write `data/sample.csv`, which lists the sample images where scikit-image installed them. Nothing is copied.

    python data/build_sample.py

Columns: id, path, label, attribution. The attributions come from scikit-image's docstrings
(`skimage/data/_fetchers.py`). The list leaves out images for which these name no origin (`moon`, `page`), images from a
microscope or an eye clinic, which nobody would describe in words, and a clock that is blurred beyond recognition.
"""

from __future__ import annotations

import csv
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple


class Sample(NamedTuple):
    """One image in scikit-image's data folder."""

    file: str
    label: str
    attribution: str


SAMPLES = (
    Sample("astronaut.png", "astronaut", "Eileen Collins, NASA (public domain)"),
    Sample("chelsea.png", "cat", "Stefan van der Walt (CC0)"),
    Sample("coffee.png", "cup of coffee", "Rachel Michetti, courtesy of Pikolo Espresso Bar (CC0)"),
    Sample("camera.png", "man with a camera", "Lav Varshney (CC0)"),
    Sample("rocket.jpg", "rocket", "SpaceX (public domain)"),
    Sample("hubble_deep_field.jpg", "galaxies", "NASA, Hubble Space Telescope (public domain)"),
    Sample("motorcycle_left.png", "motorcycle", "Middlebury 2014 stereo benchmark, Scharstein et al."),
    Sample("motorcycle_right.png", "motorcycle", "Middlebury 2014 stereo benchmark, Scharstein et al."),
    Sample("coins.png", "coins", "Brooklyn Museum Collection (no known copyright restrictions)"),
    Sample("brick.png", "brick wall", "CC0Textures (CC0)"),
    Sample("grass.png", "grass", "Linolafett, DeviantArt (CC0)"),
    Sample("gravel.png", "gravel", "CC0Textures (CC0)"),
    Sample("text.png", "handwriting", "Wikipedia, Corner.png (public domain)"),
)


def build_sample(target: Path) -> int:
    """Write the CSV, and return its number of rows.

    Raises:
        FileNotFoundError: scikit-image is not installed, or no longer ships an image.
    """
    package = find_spec("skimage")
    if package is None or package.origin is None:
        raise FileNotFoundError("scikit-image is not installed: pip install -r requirements.txt")
    folder = Path(package.origin).parent / "data"
    with open(target, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "path", "label", "attribution"])
        for number, sample in enumerate(SAMPLES, 1):
            path = folder / sample.file
            if not path.is_file():
                raise FileNotFoundError(f"scikit-image no longer ships {sample.file}")
            writer.writerow([number, path, sample.label, sample.attribution])
    return len(SAMPLES)


if __name__ == "__main__":
    csv_file = Path(__file__).with_name("sample.csv")
    try:
        print(f"{csv_file.name}: {build_sample(csv_file)} images")
    except OSError as error:
        sys.exit(f"error: {error}")
