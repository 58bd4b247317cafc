"""How fast and how exact is each precision on this CPU? `python -m benchmarks.precision [--csv CSV]`

Measure the image towers of `builtin` and of a ViT-B/32 with random weights, in batches of 64. The precisions take
turns, and the best of ten turns counts. Cosines compare the embeddings of held-out images with those in float32.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .harness import MODEL, machine, photographs, random_weights, table

if TYPE_CHECKING:
    from pipelines.models.clip import ClipModel

PRECISIONS = ("fp32", "bf16", "int8")
TURNS, BATCH, IMAGES = 10, 64, 300


def main() -> None:
    """Print one table for each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", default="", help="a CSV of photographs; without one they are made here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["IMAGE_SEARCH_CACHE"] = folder  # keeps the int8 calibration on these images out of the usual cache
        paths = [str(path) for path in photographs(options.csv, Path(folder), IMAGES)]
        print(machine())
        for name, weights in (("builtin", ""), (MODEL, str(random_weights(Path(folder))))):
            _report(name, weights, paths)


def _report(name: str, weights: str, paths: list[str]) -> None:
    from pipelines.models.clip import load_model
    from pipelines.operators.image_decode import ImageDecode

    models = {precision: load_model(name, weights, "cpu", "openvino", 0, precision) for precision in PRECISIONS}
    images = np.stack(ImageDecode("rgb", size=models["fp32"].spec.fit)(paths))
    held_out = images[2 * len(images) // 3 :]
    models["int8"].calibrate(lambda: images[: 2 * len(images) // 3])
    found = {precision: _embed(model, held_out) for precision, model in models.items()}
    best = dict.fromkeys(PRECISIONS, np.inf)
    for _ in range(TURNS):
        for precision, model in models.items():
            start = time.perf_counter()
            model.embed_images(images[:BATCH])
            best[precision] = min(best[precision], time.perf_counter() - start)
    rows = []
    for precision in PRECISIONS:
        cosines = (found[precision] * found["fp32"]).sum(axis=1)
        ratios = [f"{best[other] / best[precision]:.2f} ×" for other in ("fp32", "bf16")]
        rows.append(
            [precision, f"{BATCH / best[precision]:.0f}", *ratios, f"{cosines.min():.4f}", f"{cosines.mean():.4f}"]
        )
    print()
    table(rows, [name, "images/s", "of fp32", "of bf16", "least cosine", "mean cosine"])


def _embed(model: ClipModel, images: np.ndarray) -> np.ndarray:
    embeddings = np.concatenate([model.embed_images(images[at : at + BATCH]) for at in range(0, len(images), BATCH)])
    return np.asarray(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True))


if __name__ == "__main__":
    main()
