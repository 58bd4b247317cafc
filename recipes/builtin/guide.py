"""From what the image teacher saw to the space of the texts: a small network that the image tower then follows."""

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

from pipelines.training import augment
from pipelines.training.files import save_atomically
from pipelines.training.loss import scale_of
from pipelines.training.optimiser import make_optimiser

from . import image_tower, text_tower, vision_teacher
from .data import Photos
from .sampler import Sampler
from .texts import TEMPLATES, label_bank

STEPS = 1000
_BATCH, _RATE, _WEIGHT_DECAY = 512, 1e-3, 0.05


@dataclass(frozen=True)
class Knowledge:
    """What is known of all images; texts as unit-length embeddings of the text tower.

    `names` are those of the teacher's classes, `classes` their embeddings (templates, names, dim), `probabilities` what
    the teacher saw of them, `neighbours` how alike the labels are. `features` are the teacher's (looks, images, dim),
    centred and scaled, and `squares` the parts of the images that it saw (looks, images, 3); the first look is at
    whole images. `rarity` tells of how few images each is one, by what the teacher took them for.
    """

    names: list[str]
    bank: image_tower.TextBank
    neighbours: torch.Tensor
    classes: torch.Tensor
    probabilities: torch.Tensor
    features: torch.Tensor
    squares: torch.Tensor
    rarity: np.ndarray


class Guide(nn.Module):
    """From the teacher's features of an image to the space of the texts."""

    def __init__(self, teacher_dim: int, dim: int, width: int = 1024) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout(0.3), nn.Linear(teacher_dim, width), nn.GELU(), nn.Dropout(0.3), nn.Linear(width, dim)
        )
        self.logit_scale = nn.Parameter(torch.tensor(math.log(15.0)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Unit-length embeddings."""
        return F.normalize(self.layers(features.float()), dim=-1)

    def scale(self) -> torch.Tensor:
        """The factor of the cosines."""
        return scale_of(self.logit_scale)


@torch.inference_mode()
def embed(clip: Any, sentences: list[str], batch: int = 256) -> torch.Tensor:
    """The text tower's embeddings, one row a text."""
    tokens = text_tower.tokenize(text_tower.make_tokenizer(), sentences, clip.context_length)
    return text_tower.encode_by_length(clip, [tokens], batch)[0]


def embed_texts(clip: Any, photos: Photos, names: list[str], path: Path) -> tuple[image_tower.TextBank, torch.Tensor]:
    """Labels and captions, and the class names (templates, names, dim), from `path` where they are there."""
    if not path.exists():
        shape = (len(TEMPLATES), -1, clip.text_projection.shape[1])
        labels = embed(clip, label_bank(photos.label_texts)).reshape(shape)
        classes = embed(clip, label_bank(names)).reshape(shape)
        save_atomically({"labels": labels, "captions": embed(clip, photos.caption_texts), "classes": classes}, path)
    saved = torch.load(path, weights_only=True)
    return image_tower.TextBank(saved["labels"], saved["captions"]), saved["classes"]


def scaling(reference: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """What centres and scales the teacher's features as `reference` is spread, and brings all to one length."""
    mean, spread = reference.float().mean(0), reference.float().std(0).clamp_min(1e-3)
    length = math.sqrt(reference.shape[1])
    return lambda features: F.normalize((features.float() - mean) / spread, dim=-1) * length


def as_encoder(leader: Guide, photos: Photos, work_dir: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """Normalised images → embeddings by teacher and guide: what the image tower could learn at most."""
    teacher = vision_teacher.VisionTeacher()
    scaled = scaling(vision_teacher.look(photos, work_dir).features)
    return lambda pixels: torch.cat([leader(scaled(teacher(augment.to_bytes(part))[0])) for part in pixels.split(64)])


def train(known: Knowledge, sampler: Sampler, steps: int) -> Guide:
    """Learns from the images' own texts and from the names of the classes that the teacher saw."""
    guide = Guide(known.features.shape[2], known.bank.captions.shape[1])
    optimiser = make_optimiser(guide, _RATE, _WEIGHT_DECAY)
    own = Sampler(sampler.photos, sampler.rows, _BATCH, sampler.seed)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = _RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        batch = own.draw()
        looks = torch.randint(len(known.features), (_BATCH,))
        images = guide(known.features[looks, batch.rows])
        loss = image_tower.text_loss(images, batch, known.bank, known.neighbours, guide.scale())
        classes = known.classes[int(torch.randint(len(known.classes), ()))]
        loss = loss + F.cross_entropy(guide.scale() * images @ classes.T, known.probabilities[batch.rows].float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return guide


def know(
    clip: Any, photos: Photos, held_out_names: set[str], work_dir: Path, closer_looks: int, seed: int
) -> Knowledge:
    """Shows the images to the teacher and embeds all texts, or loads what was done of it from `work_dir`."""
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
    return Knowledge(names, bank, bank.neighbours(), classes, probabilities, features, squares, seen.rarity())


def retell(known: Knowledge, clip: Any, photos: Photos, work_dir: Path) -> Knowledge:
    """The same with the texts as a text tower embeds them that has learned on."""
    bank, classes = embed_texts(clip, photos, known.names, work_dir / "tuned_tower_texts.pt")
    return replace(known, bank=bank, neighbours=bank.neighbours(), classes=classes)


def prepare(known: Knowledge, sampler: Sampler, work_dir: Path, steps: int = STEPS) -> Guide:
    """Trains the guide, or loads it from `work_dir`."""
    path = work_dir / "guide.pt"
    if not path.exists():
        save_atomically(train(known, sampler, steps).state_dict(), path)
    guide = Guide(known.features.shape[2], known.bank.captions.shape[1])
    guide.load_state_dict(torch.load(path, weights_only=True))
    return guide.eval().requires_grad_(False)
