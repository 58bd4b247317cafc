"""How close to CLIP's is the preprocessed image, and how long does it take?

    python -m benchmarks.preprocess [--csv CSV]

CLIP's reference decodes, resizes (bicubic, antialiased) and crops with PIL. Differences are in levels of 0 to 255.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .harness import large_image, measure, photographs, report, table

SIZE = 224
LARGE = ((4000, 3000), (6000, 4000))


def main() -> None:
    """Print the fidelity on the photographs, and speed and fidelity on large JPEGs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", default="", help="a CSV of photographs; without one they are made here")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--subject", help=argparse.SUPPRESS)
    parser.add_argument("--arguments", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.subject:
        report(_large(options.subject, **json.loads(options.arguments)))
        return
    _fidelity(options)
    print()
    _speed()


def reference(data: bytes) -> np.ndarray:
    """Return uint8[224, 224, 3], computed with PIL in the way of torchvision's Resize and CenterCrop."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    width, height = image.size
    short = min(width, height)
    width, height = int(SIZE * width / short), int(SIZE * height / short)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - SIZE) / 2), round((height - SIZE) / 2)
    return np.asarray(image.crop((left, top, left + SIZE, top + SIZE)))


def _fidelity(options: argparse.Namespace) -> None:
    import tempfile

    from skimage.metrics import structural_similarity

    from pipelines.images.decode import decode

    with tempfile.TemporaryDirectory() as folder:
        files = [path.read_bytes() for path in photographs(options.csv, Path(folder), options.images)]
    decode(files[0], SIZE)  # imports modules
    means, largest, similar, ours, theirs = [], [], [], 0.0, 0.0
    for data in files:
        start = time.process_time()
        got = decode(data, SIZE)
        ours += time.process_time() - start
        start = time.process_time()
        expected = reference(data)
        theirs += time.process_time() - start
        difference = np.abs(got.astype(int) - expected)
        means.append(difference.mean())
        largest.append(int(difference.max()))
        similar.append(structural_similarity(got, expected, channel_axis=2))
    row = [
        f"{len(files):,}", f"{np.mean(means):.4f}", f"{max(means):.4f}", max(largest), f"{min(similar):.5f}",
        f"{1e3 * ours / len(files):.2f}", f"{1e3 * theirs / len(files):.2f}", f"{theirs / ours:.2f} ×",
    ]  # fmt: skip
    table([row], ["photographs", "mean difference", "of the worst image", "largest", "SSIM, worst",
                  "CPU ms", "PIL's CPU ms", "faster"])  # fmt: skip


def _speed() -> None:
    rows: list[list[Any]] = []
    for width, height in LARGE:
        results = {
            subject: measure("benchmarks.preprocess", subject, width=width, height=height)
            for subject in ("PIL", "this program", "this program, --exact-preprocess")
        }
        for subject, result in results.items():
            rows.append([
                f"{width * height / 1e6:.0f} megapixels", subject, f"{1e3 * result['seconds']:.0f}",
                f"{results['PIL']['seconds'] / result['seconds']:.1f} ×", f"{result['mean']:.3f}", result["largest"],
                f"{result['similar']:.4f}", f"{result['grown_mb']:,.0f}",
            ])  # fmt: skip
    table(rows, ["JPEG", "way", "CPU ms", "faster", "mean difference", "largest", "SSIM", "memory it takes (MB)"])


def _large(subject: str, width: int, height: int) -> dict[str, Any]:
    from skimage.metrics import structural_similarity

    from pipelines.images.decode import decode

    buffer = io.BytesIO()
    large_image(width, height).save(buffer, "JPEG", quality=92)
    data = buffer.getvalue()
    ways: dict[str, Callable[[bytes], np.ndarray]] = {
        "PIL": reference,
        "this program": lambda data: decode(data, SIZE),
        "this program, --exact-preprocess": lambda data: decode(data, SIZE, exact=True),
    }
    small = io.BytesIO()
    large_image(500, 375).save(small, "JPEG")
    ways[subject](small.getvalue())  # imports modules
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak memory
    before = _memory("VmRSS")
    seconds = [_cpu_seconds(ways[subject], data) for _ in range(5)]
    grown = _memory("VmHWM") - before
    got, expected = ways[subject](data), reference(data)
    difference = np.abs(got.astype(int) - expected)
    return {
        "seconds": float(np.median(seconds)), "mean": float(difference.mean()), "largest": int(difference.max()),
        "similar": float(structural_similarity(got, expected, channel_axis=2)), "grown_mb": grown,
    }  # fmt: skip


def _cpu_seconds(function: Callable[[bytes], np.ndarray], data: bytes) -> float:
    start = time.process_time()
    function(data)
    return time.process_time() - start


def _memory(name: str) -> float:
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
