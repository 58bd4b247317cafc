"""What does it cost to read the metadata of files? `python -m benchmarks.metadata [--csv CSV] [--model MODEL]`

Run pairs of inserts in one process, first with `--no-metadata`, then without. The first pair warms up and is left out.
ViT-B/32 has random weights. Without a CSV the benchmark makes images with the EXIF of a camera and a position.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from PIL import Image

from .harness import MODEL, machine, photographs, random_weights, table, write_table

PAIRS = 5


def main() -> None:
    """Print each pair, and the median of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", default="", help="a CSV of photographs; without one they are made here")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--model", default=MODEL)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = photographs(options.csv, folder, options.images)
        if not options.csv:
            _add_exif(paths)
        weights = str(random_weights(folder)) if options.model == MODEL else ""
        pairs = [_pair(folder, number, paths, options.model, weights) for number in range(PAIRS + 1)][1:]
    print(f"{machine()}\n\n{len(paths):,} images, {options.model}\n")
    names = ("images/s without", "with", "ratio", "CPU seconds without", "with", "ratio")
    rows = [[f"{a:.1f}", f"{b:.1f}", f"{b / a:.3f}", f"{c:.2f}", f"{d:.2f}", f"{d / c:.3f}"] for a, b, c, d in pairs]
    table(rows, list(names))
    rate, seconds = median(b / a for a, b, _, _ in pairs), median(d / c for _, _, c, d in pairs)
    print(f"\nmedian: the rate with is {rate:.1%} of that without, the CPU time {seconds:.1%}")


def _pair(folder: Path, number: int, paths: list[Path], model: str, weights: str) -> tuple[float, float, float, float]:
    """Return the rates without and with metadata, and the CPU seconds of both."""
    (rate, seconds), (rate_with, seconds_with) = (
        _insert(folder, f"{number}-{reads}", paths, model, weights, reads) for reads in (False, True)
    )
    return rate, rate_with, seconds, seconds_with


def _insert(folder: Path, name: str, paths: list[Path], model: str, weights: str, reads: bool) -> tuple[float, float]:
    from pipelines import Settings, run_insert

    settings = Settings(uri=str(folder / f"{name}.db"), model=model, weights=weights)
    start = time.process_time()
    summary = run_insert(write_table(paths, folder / "images.csv"), settings, metadata=None if reads else False)
    return summary.inserted / summary.seconds, time.process_time() - start


def _add_exif(paths: list[Path]) -> None:
    for number, path in enumerate(paths):
        exif = Image.Exif()
        exif.update({0x010F: "Canon", 0x0110: "Canon EOS 40D", 0x010E: f"image {number}"})
        exif.get_ifd(0x8769).update({0x9003: "2021:05:01 10:11:12", 0x9011: "+02:00", 0x927C: bytes(10_000)})
        exif.get_ifd(0x8825).update({1: "N", 2: (43.0, 28.0, number / 10), 3: "E", 4: (11.0, 53.0, 6.4)})
        with Image.open(path) as image:
            image.load()
            image.save(path, quality=92, exif=exif.tobytes())


if __name__ == "__main__":
    main()
