"""Projection head: a small network from the image teacher's features to the space of the texts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from pipelines.training.model import scale_of
from pipelines.training.trainer import make_optimiser

from . import augment, files, image_tower, text_tower, vision_teacher
from .data import Photos
from .sampler import Sampler
from .texts import TEMPLATES, label_bank

STEPS = 1000
_BATCH, _RATE, _WEIGHT_DECAY = 512, 1e-3, 0.05


@dataclass(frozen=True)
class TeacherTargets:
    """What the image tower learns from: texts, and the image teacher's output for all images.

    names: those of the teacher's classes.
    bank: embeddings of labels and captions by the text tower, unit length.
    neighbours: the similarity of the labels, as shares.
    classes: embeddings of `names`, (templates, names, dim), unit length.
    probabilities: float16[images, names], the teacher's class probabilities.
    features: float16[looks, images, dim], the teacher's features, centred and scaled; look 0 is at whole images.
    squares: float32[looks, images, 3], the parts of the images that the teacher saw.
    rarity: float64[images], 1 / number of images that the teacher takes for the same class.
    """

    names: list[str]
    bank: image_tower.TextBank
    neighbours: torch.Tensor
    classes: torch.Tensor
    probabilities: torch.Tensor
    features: torch.Tensor
    squares: torch.Tensor
    rarity: np.ndarray


class ProjectionHead(nn.Module):
    """Maps the teacher's features of an image into the space of the texts."""

    def __init__(self, teacher_dim: int, dim: int, width: int = 1024) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout(0.3), nn.Linear(teacher_dim, width), nn.GELU(), nn.Dropout(0.3), nn.Linear(width, dim)
        )
        self.logit_scale = nn.Parameter(torch.tensor(math.log(15.0)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return unit-length embeddings."""
        return F.normalize(self.layers(features.float()), dim=-1)

    def scale(self) -> torch.Tensor:
        """Return the factor of the cosines."""
        return scale_of(self.logit_scale)


@torch.inference_mode()
def embed(clip: Any, sentences: list[str], batch: int = 256) -> torch.Tensor:
    """Return the text tower's embeddings, one row per text."""
    tokens = text_tower.tokenize(text_tower.make_tokenizer(), sentences, clip.context_length)
    return text_tower.encode_by_length(clip, [tokens], batch)[0]


def embed_texts(clip: Any, photos: Photos, names: list[str], path: Path) -> tuple[image_tower.TextBank, torch.Tensor]:
    """Embed labels and captions, and class names (templates, names, dim), or load them from `path`."""
    if not path.exists():
        shape = (len(TEMPLATES), -1, clip.text_projection.shape[1])
        labels = embed(clip, label_bank(photos.label_texts)).reshape(shape)
        classes = embed(clip, label_bank(names)).reshape(shape)
        files.save({"labels": labels, "captions": embed(clip, photos.caption_texts), "classes": classes}, path)
    saved = torch.load(path, weights_only=True)
    return image_tower.TextBank(saved["labels"], saved["captions"]), saved["classes"]


def scaling(reference: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that scales features by the mean and spread of `reference`, all to the same length."""
    mean, spread = reference.float().mean(0), reference.float().std(0).clamp_min(1e-3)
    length = math.sqrt(reference.shape[1])
    return lambda features: F.normalize((features.float() - mean) / spread, dim=-1) * length


def as_encoder(head: ProjectionHead, photos: Photos, work_dir: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return an image encoder made of teacher and projection head: the upper bound for the image tower."""
    teacher = vision_teacher.VisionTeacher()
    scaled = scaling(vision_teacher.look(photos, work_dir).features)
    return lambda pixels: torch.cat(
        [head(scaled(teacher(augment.to_bytes(part))[0])) for part in torch.split(pixels, 64)]
    )


def train(targets: TeacherTargets, sampler: Sampler, steps: int) -> ProjectionHead:
    """Train on the images' own texts and on the names of the classes that the teacher gives them."""
    head = ProjectionHead(targets.features.shape[2], targets.bank.captions.shape[1])
    optimiser = make_optimiser(head, _RATE, _WEIGHT_DECAY)
    own = Sampler(sampler.photos, sampler.rows, _BATCH, sampler.seed)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = _RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        batch = own.draw()
        looks = torch.randint(len(targets.features), (_BATCH,))
        images = head(targets.features[looks, batch.rows])
        loss = image_tower.text_loss(images, batch, targets.bank, targets.neighbours, head.scale())
        classes = targets.classes[int(torch.randint(len(targets.classes), ()))]
        loss = loss + F.cross_entropy(head.scale() * images @ classes.T, targets.probabilities[batch.rows].float())
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    return head


def build_targets(
    clip: Any, photos: Photos, held_out_names: set[str], work_dir: Path, closer_looks: int, seed: int
) -> TeacherTargets:
    """Run the teacher on all images and embed all texts, or load the results from `work_dir`."""
    seen = vision_teacher.look(photos, work_dir)
    names, probabilities = seen.without(held_out_names)
    scaled, side = scaling(seen.features), photos.pixels.shape[1]
    features = torch.empty(1 + closer_looks, *seen.features.shape, dtype=torch.float16)
    squares = torch.tensor([0.0, 0.0, side]).repeat(1 + closer_looks, len(photos), 1)
    features[0] = scaled(seen.features)
    for number in range(1, 1 + closer_looks):
        closer = vision_teacher.look_closer(photos, work_dir, number, seed)
        features[number], squares[number] = scaled(closer.features), closer.squares
    bank, classes = embed_texts(clip, photos, names, work_dir / "tower_texts.pt")
    return TeacherTargets(names, bank, bank.neighbours(), classes, probabilities, features, squares, seen.rarity())


def update_texts(targets: TeacherTargets, clip: Any, photos: Photos, work_dir: Path) -> TeacherTargets:
    """Return the targets with the texts embedded again, by a text tower that was trained further."""
    bank, classes = embed_texts(clip, photos, targets.names, work_dir / "tuned_tower_texts.pt")
    return replace(targets, bank=bank, neighbours=bank.neighbours(), classes=classes)


def train_or_load(targets: TeacherTargets, sampler: Sampler, work_dir: Path, steps: int = STEPS) -> ProjectionHead:
    """Train the projection head, or load it from `work_dir`."""
    path = work_dir / "projection_head.pt"
    if not path.exists():
        files.save(train(targets, sampler, steps).state_dict(), path)
    head = ProjectionHead(targets.features.shape[2], targets.bank.captions.shape[1])
    head.load_state_dict(torch.load(path, weights_only=True))
    return head.eval().requires_grad_(False)
