"""From what the picture teacher saw to the space of the texts: a small network that the image tower then follows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .. import augment
from ..files import save_atomically
from ..loss import scale_of
from ..optimiser import make_optimiser
from . import image_tower, text_tower, vision_teacher
from .data import Photos
from .sampler import Sampler
from .texts import TEMPLATES, label_bank

STEPS = 1000
_BATCH, _RATE, _WEIGHT_DECAY = 512, 1e-3, 0.05


@dataclass(frozen=True)
class Knowledge:
    """What is known of all pictures; texts as unit-length embeddings of the text tower.

    `classes` are the teacher's classes by their names (templates, names, dim), `probabilities` what it saw of them,
    `features` its features (centred and scaled), `neighbours` how alike the labels are.
    """

    bank: image_tower.TextBank
    neighbours: torch.Tensor
    classes: torch.Tensor
    probabilities: torch.Tensor
    features: torch.Tensor


class Guide(nn.Module):
    """From the teacher's features of a picture to the space of the texts."""

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
    """The text tower's embeddings, computed by length, so that short texts are not padded to the longest."""
    tokens = text_tower.tokenize(text_tower.make_tokenizer(), sentences, clip.context_length)
    order = (tokens > 0).sum(1).argsort()
    embedded = torch.empty(len(tokens), clip.text_projection.shape[1])
    for rows in order.split(batch):
        embedded[rows] = text_tower.encode(clip, tokens[rows])
    return embedded


def embed_texts(
    clip: Any, photos: Photos, names: list[str], work_dir: Path
) -> tuple[image_tower.TextBank, torch.Tensor]:
    """Labels and captions, and the class names (templates, names, dim), from `work_dir` where they are there."""
    path = work_dir / "tower_texts.pt"
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


def load(path: Path) -> Guide:
    """The guide that `prepare` left."""
    state = torch.load(path, weights_only=True)
    guide = Guide(state["layers.1.weight"].shape[1], state["layers.4.weight"].shape[0])
    guide.load_state_dict(state)
    return guide.eval().requires_grad_(False)


def as_encoder(photos: Photos, work_dir: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """Normalised pictures → embeddings by teacher and guide: what the image tower could learn at most."""
    teacher, guide = vision_teacher.VisionTeacher(), load(work_dir / "guide.pt")
    scaled = scaling(vision_teacher.look(photos, work_dir).features)
    return lambda pixels: torch.cat([guide(scaled(teacher(augment.to_bytes(part))[0])) for part in pixels.split(64)])


def train(known: Knowledge, sampler: Sampler, steps: int) -> Guide:
    """Learns from the pictures' own texts and from the names of the classes that the teacher saw."""
    guide = Guide(known.features.shape[1], known.bank.captions.shape[1])
    optimiser = make_optimiser(guide, _RATE, _WEIGHT_DECAY)
    own = Sampler(sampler.photos, sampler.rows, _BATCH, sampler.seed)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = _RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        batch = own.draw()
        images = guide(known.features[batch.rows])
        loss = image_tower.text_loss(images, batch, known.bank, known.neighbours, guide.scale())
        classes = known.classes[int(torch.randint(len(known.classes), ()))]
        loss = loss + F.cross_entropy(guide.scale() * images @ classes.T, known.probabilities[batch.rows].float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return guide


def know(clip: Any, photos: Photos, held_out_names: set[str], work_dir: Path) -> Knowledge:
    """Shows the pictures to the teacher and embeds all texts, or loads what was done of it from `work_dir`."""
    seen = vision_teacher.look(photos, work_dir)
    names, probabilities = seen.without(held_out_names)
    bank, classes = embed_texts(clip, photos, names, work_dir)
    features = scaling(seen.features)(seen.features).half()
    return Knowledge(bank, bank.neighbours(), classes, probabilities, features)


def prepare(known: Knowledge, sampler: Sampler, work_dir: Path, steps: int = STEPS) -> Guide:
    """Trains the guide, or loads it from `work_dir`."""
    path = work_dir / "guide.pt"
    if not path.exists():
        save_atomically(train(known, sampler, steps).state_dict(), path)
    return load(path)
