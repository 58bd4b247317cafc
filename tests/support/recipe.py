"""Drawn images, a small network and stand-ins for the two teachers, for the tests of the recipe."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from pipelines.models.registry import BUILTIN
from pipelines.training.model import random_network
from recipes.builtin import augment, data, image_tower, loop, projection_head, teacher, texts

COLOURS = {"red": (220, 40, 40), "green": (40, 190, 60), "blue": (50, 70, 220), "yellow": (230, 220, 50)}
SEED = 7
# Lower than the shipped model's, to be quicker.
RESOLUTION = 64


def short_stage(**changes: Any) -> loop.StageSettings:
    """Return the settings of a stage of forty small steps."""
    values = {"minutes": 5, "learning_rate": 2e-3, "batch": 32, "warmup_steps": 5, "average_decay": 0.9}
    return loop.StageSettings(**{**values, "max_steps": 40, **changes})


def build(seed: int) -> Any:
    """Return the network with random weights."""
    return random_network(seed, dataclasses.replace(BUILTIN.architecture, image_resolution=RESOLUTION))


def draw(colour: str, shape: str, random: np.random.Generator) -> bytes:
    """Return a coloured shape at a random place on grey, as WebP."""
    image = Image.new("RGB", (72, 72), tuple(int(v) for v in random.integers(100, 150, 3)))
    left, top = (int(v) for v in random.integers(4, 20, 2))
    box = (left, top, left + 44, top + 44)
    pen = ImageDraw.Draw(image)
    (pen.ellipse if shape == "circle" else pen.rectangle)(box, fill=COLOURS[colour])
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=80)
    return buffer.getvalue()


def write_photos(folder: Path) -> None:
    """Write 192 images: half with a label (the colour), half with captions."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(SEED)
    rows = []
    for number in range(192):
        colour, shape = list(COLOURS)[number % 4], ("circle", "square")[number // 4 % 2]
        told = number % 2 == (number // 8) % 2
        captions = [f"a {colour} {shape}", f"there is a {colour}_{shape} on grey"] if told else []
        image = draw(colour, shape, random)
        rows.append({"set": "drawn", "label": "" if told else colour, "captions": captions, "image": image})
    for part in range(2):
        pq.write_table(pa.Table.from_pylist(rows[part::2]), folder / f"photos-{part}.parquet")


class WordVectors:
    """Stands in for the text teacher: a text is the sum of a fixed random vector for each of its words."""

    def __init__(self) -> None:
        self.vectors: dict[str, np.ndarray] = {}
        self.random = np.random.default_rng(SEED)

    def encode(self, sentences: list[str]) -> torch.Tensor:
        for word in " ".join(sentences).split():
            if word not in self.vectors:
                self.vectors[word] = self.random.standard_normal(teacher.TEACHER_DIM)
        sums = [np.sum([self.vectors[word] for word in sentence.split()], axis=0) for sentence in sentences]
        return torch.nn.functional.normalize(torch.tensor(np.array(sums)).float(), dim=-1)


def word_bank(photos: data.Photos) -> image_tower.TextBank:
    """Return the embeddings of the labels and captions."""
    vectors = WordVectors()
    labels = vectors.encode(texts.label_bank(photos.label_texts))
    shape = (len(texts.TEMPLATES), len(photos.label_texts), -1)
    return image_tower.TextBank(labels.reshape(shape), vectors.encode(photos.caption_texts))


def seen_by_a_teacher(photos: data.Photos) -> dict[str, torch.Tensor]:
    """Stand in for the image teacher: return features and logits that tell the colour that an image shows."""
    captions = [photos.caption_texts[row[0]] if row[0] >= 0 else "" for row in photos.captions]
    colours = [
        next(place for place, name in enumerate(COLOURS) if name in (captions[row] or photos.label_texts[label]))
        for row, label in enumerate(photos.labels)
    ]
    generator = torch.Generator().manual_seed(SEED)
    shown = torch.nn.functional.one_hot(torch.tensor(colours), len(COLOURS)).float()
    features = shown @ torch.randn(len(COLOURS), 80, generator=generator)
    features += 0.3 * torch.randn(len(photos), 80, generator=generator)
    logits = torch.zeros(len(photos), 1000)
    logits[:, : len(COLOURS)] = 8 * shown
    return {"features": features.half(), "logits": logits.half()}


def show(photos: data.Photos, clip: object, work_dir: Path) -> projection_head.TeacherTargets:
    """Return the image teacher's targets for the stages that learn from it, with one class held out."""
    seen = seen_by_a_teacher(photos)
    torch.save(seen, work_dir / "seen.pt")
    squares = augment.random_squares(len(photos), data.STORED_SIZE, 0.6)
    torch.save({"squares": squares, "features": seen["features"]}, work_dir / "closer1.pt")
    return projection_head.build_targets(clip, photos, {"great white shark"}, work_dir, closer_looks=1, seed=SEED)
