"""The training images, decoded once into a flat array, and their labels and captions as numbers."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Side of the training images in pixels; the few of other sizes are resized to it.
STORED_SIZE = 72

# Weights with which images are drawn, by set; 1 for a set that is not listed. Photographs of everyday scenes with
# captions teach most about free text; narrow sets (one kind of thing, or product cut-outs) teach little.
DRAW_WEIGHTS = {
    "flickr8k_full": 2.5,
    "coco_mini": 2.5,
    "semantic_search_2k": 2.5,
    "conceptual_captions_882": 1.5,
    "web_captions_18k": 1.5,
    "imagenette": 1.5,
    "caltech101": 1.2,
    "fashion_products_44k": 0.5,
    "pacs_nonphoto": 0.5,
    "sea_animals": 0.6,
    "sports22": 0.7,
    "monkeys10": 0.6,
    "chess_pieces": 0.5,
    "street_fashion_2098": 0.5,
    "scenes6_intel": 0.7,
}


@dataclass(frozen=True)
class Photos:
    """All training images. An image has either a label or captions.

    `labels[i]` indexes `label_texts`, or is -1; row `captions[i]` holds indices into `caption_texts`, padded
    with -1.
    """

    pixels: np.ndarray
    labels: np.ndarray
    captions: np.ndarray
    weights: np.ndarray
    label_texts: list[str]
    caption_texts: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    def split(self, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Split the row numbers at random into training and validation."""
        order = np.random.default_rng(seed).permutation(len(self))
        held_out = max(1, round(len(self) * share))
        return np.sort(order[held_out:]), np.sort(order[:held_out])


def decode_image(data: bytes) -> np.ndarray:
    """Decode to RGB, `STORED_SIZE` pixels square; the few images of other sizes are resized."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        rgb = image.convert("RGB")
        if rgb.size != (STORED_SIZE, STORED_SIZE):
            rgb = rgb.resize((STORED_SIZE, STORED_SIZE), Image.Resampling.BICUBIC)
        return np.asarray(rgb)


def clean_text(text: str) -> str:
    """Return a text on one line, with spaces instead of underscores."""
    return " ".join(text.replace("_", " ").split())


def labels_of(table: Path) -> set[str]:
    """Return the column `label` of a CSV, in lower case."""
    with table.open(newline="", encoding="utf-8") as handle:
        return {clean_text(row["label"]).lower() for row in csv.DictReader(handle)}


def texts_of_row(row: dict[str, Any]) -> tuple[str, list[str]]:
    """Return the label and captions of a row; if there are captions, the label becomes one of them."""
    label = clean_text(row["label"] or "")
    captions = [clean_text(text) for text in row["captions"] or [] if text.strip()]
    if captions and label and "," not in label:
        captions.append(f"a photo of a {label}" if row["set"] != "pacs_nonphoto" else f"an image of a {label}")
    return ("", captions) if captions else (label, [])


def prepare(photos_dir: Path, work_dir: Path) -> None:
    """Decode every image of the parquet files in `photos_dir` into `work_dir`, unless this is already done."""
    import pyarrow.parquet as pq

    if (work_dir / "photos.json").exists():
        return
    files = sorted(photos_dir.glob("*.parquet"))
    if not files:
        raise FileNotFoundError(f"no .parquet file in {photos_dir}")
    total = sum(pq.ParquetFile(file).metadata.num_rows for file in files)
    shape = (total, STORED_SIZE, STORED_SIZE, 3)
    pixels = np.lib.format.open_memmap(work_dir / "pixels.npy", mode="w+", dtype=np.uint8, shape=shape)
    rows: list[dict[str, Any]] = []
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(1024, columns=["set", "label", "captions", "image"]):
            for row in batch.to_pylist():
                pixels[len(rows)] = decode_image(row["image"])
                label, captions = texts_of_row(row)
                rows.append({"set": row["set"], "label": label, "captions": captions})
    pixels.flush()
    # Written last: it marks the images as complete.
    (work_dir / "photos.json").write_text(json.dumps(rows))


def load(work_dir: Path) -> Photos:
    """Read the output of `prepare`; the pixels are memory-mapped."""
    rows = json.loads((work_dir / "photos.json").read_text())
    label_texts = sorted({row["label"] for row in rows if row["label"]})
    caption_texts = sorted({text for row in rows for text in row["captions"]})
    label_numbers = {text: number for number, text in enumerate(label_texts)}
    caption_numbers = {text: number for number, text in enumerate(caption_texts)}
    captions = np.full((len(rows), max(1, *(len(row["captions"]) for row in rows))), -1, dtype=np.int64)
    for row, numbers in zip(rows, captions, strict=True):
        numbers[: len(row["captions"])] = [caption_numbers[text] for text in row["captions"]]
    return Photos(
        pixels=np.load(work_dir / "pixels.npy", mmap_mode="r"),
        labels=np.array([label_numbers.get(row["label"], -1) for row in rows], dtype=np.int64),
        captions=captions,
        weights=np.array([DRAW_WEIGHTS.get(row["set"], 1.0) for row in rows]),
        label_texts=label_texts,
        caption_texts=caption_texts,
    )
