"""Stage 1: train the image tower towards the teacher's sentence embeddings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from pipelines.training.model import contrastive_loss, scale_of

from . import augment, files, loop, teacher
from .data import Photos
from .sampler import Batch, Sampler
from .texts import TEMPLATES, label_bank

VALIDATION_SHARE = 0.02
# Share of a label's target that goes to the labels that the teacher finds most similar: `cat` for `Egyptian cat`.
_NEIGHBOUR_SHARE = 0.1
_NEIGHBOUR_TEMPERATURE = 0.05
# The map is trained for this share of the stage and then frozen, so that a second process can train the text tower at
# the same time, with fixed targets.
_MAP_SHARE = 0.4
# Number of captions drawn as additional negatives. Their embeddings exist already, so they cost next to nothing.
_EXTRA_CAPTIONS = 1024


@dataclass(frozen=True)
class TextBank:
    """The teacher's embeddings: labels by template (templates, labels, 384) and captions (captions, 384)."""

    labels: torch.Tensor
    captions: torch.Tensor

    def neighbours(self) -> torch.Tensor:
        """Return each label's similarities to the others, as shares that add up to one."""
        mean = F.normalize(self.labels.float().mean(0), dim=-1)
        alike = mean @ mean.T / _NEIGHBOUR_TEMPERATURE
        return alike.fill_diagonal_(-math.inf).softmax(-1)


def embed_texts(photos: Photos, work_dir: Path) -> TextBank:
    """Embed all labels and captions with the teacher, or load the embeddings from `work_dir`."""
    path = work_dir / "teacher.pt"
    if not path.exists():
        model = teacher.Teacher()
        labels = torch.from_numpy(model.encode(label_bank(photos.label_texts)))
        captions = torch.from_numpy(model.encode(photos.caption_texts))
        shape = (len(TEMPLATES), len(photos.label_texts), teacher.TEACHER_DIM)
        files.save({"labels": labels.reshape(shape), "captions": captions}, path)
    return TextBank(**torch.load(path, weights_only=True))


class ImageStudent(nn.Module):
    """The image tower, the linear map from the teacher's space to CLIP's, and the temperature."""

    visual: Any

    def __init__(self, visual: Any, bank: TextBank, dim: int) -> None:
        super().__init__()
        self.visual = visual
        self.map = nn.Linear(teacher.TEACHER_DIM, dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(15.0)))
        self._start_from_main_directions(torch.cat([bank.labels.flatten(0, 1), bank.captions]).float())

    @torch.no_grad()
    def _start_from_main_directions(self, embeddings: torch.Tensor) -> None:
        """Initialise the map as the projection on the main directions of the texts."""
        mean = embeddings.mean(0)
        centred = embeddings - mean
        _, vectors = torch.linalg.eigh(centred.T @ centred)
        self.map.weight.copy_(vectors.flip(1)[:, : self.map.out_features].T)
        self.map.bias.copy_(-self.map.weight @ mean)

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return unit-length embeddings of normalised images."""
        with loop.half_precision():
            embedded = self.visual(pixels)
        return F.normalize(embedded.float(), dim=-1)

    def texts(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Map the teacher's embeddings of texts to unit-length embeddings."""
        return F.normalize(self.map(embeddings.float()), dim=-1)

    def scale(self) -> torch.Tensor:
        """Return the factor of the cosines, at most 100 as in CLIP."""
        return scale_of(self.logit_scale)


def label_loss(logits: torch.Tensor, labels: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over all labels; a share of the target goes to the most similar labels."""
    target = F.one_hot(labels, logits.shape[1]) * (1 - _NEIGHBOUR_SHARE) + neighbours[labels] * _NEIGHBOUR_SHARE
    return F.cross_entropy(logits, target)


def caption_loss(images: torch.Tensor, texts: torch.Tensor, numbers: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return the symmetric contrastive loss; equal texts are all relevant.

    Texts beyond the first `len(images)` have no image and serve only as negatives.
    """
    return contrastive_loss(images, texts, numbers[: len(images), None] == numbers[None, :], scale)


def own_captions_loss(
    images: torch.Tensor,
    batch: Batch,
    captions: torch.Tensor,
    others: torch.Tensor,
    scale: torch.Tensor,
    place: Callable[[torch.Tensor], torch.Tensor] = torch.Tensor.float,
) -> torch.Tensor:
    """Return the loss of the captioned images against their own captions and `others`, weighted by their share.

    `place` is that of `text_loss`.
    """
    captioned = batch.captioned()
    if not captioned:
        return torch.zeros(())
    numbers = torch.cat([batch.captions[:captioned], others])
    loss = caption_loss(images[:captioned], place(captions[numbers]), numbers, scale)
    return captioned / len(batch.captions) * loss


def text_loss(
    images: torch.Tensor,
    batch: Batch,
    bank: TextBank,
    neighbours: torch.Tensor,
    scale: torch.Tensor,
    place: Callable[[torch.Tensor], torch.Tensor] = torch.Tensor.float,
) -> torch.Tensor:
    """Return the loss of images against their own texts; labelled and captioned images are weighted by their share.

    `place` maps the bank's embeddings into the space of the images, at unit length.
    """
    captioned, total = batch.captioned(), len(batch.labels)
    extra = torch.randint(len(bank.captions), (_EXTRA_CAPTIONS,))
    loss = own_captions_loss(images, batch, bank.captions, extra, scale, place)
    if captioned < total:
        template = int(torch.randint(len(bank.labels), ()))
        logits = scale * images[captioned:] @ place(bank.labels[template]).T
        loss = loss + (1 - captioned / total) * label_loss(logits, batch.labels[captioned:], neighbours)
    return loss


def step_loss(student: ImageStudent, sampler: Sampler, bank: TextBank, neighbours: torch.Tensor) -> torch.Tensor:
    """Return the loss of one batch."""
    batch = sampler.draw()
    images = student.images(augment.augment(batch.pixels, student.visual.input_resolution))
    return text_loss(images, batch, bank, neighbours, student.scale(), student.texts)


@torch.inference_mode()
def embed_with(
    embed: Callable[[torch.Tensor], torch.Tensor], visual: Any, photos: Photos, rows: np.ndarray
) -> torch.Tensor:
    """Embed whole training images without augmentation, for validation."""
    size = visual.input_resolution
    parts = []
    for start in range(0, len(rows), 256):
        images = photos.pixels[rows[start : start + 256]]
        parts.append(embed(torch.stack([augment.preprocess(image, size) for image in images])))
    return torch.cat(parts)


def score(
    images: torch.Tensor, labels: torch.Tensor, captions: torch.Tensor, bank: torch.Tensor, asked: torch.Tensor
) -> str:
    """Return how often the nearest label is right, and how often a caption finds its image among the first ten."""
    named = labels >= 0
    right = (images[named] @ bank.T).argmax(1) == labels[named]
    scores = asked @ images[captions >= 0].T
    found = (scores > scores.diagonal().unsqueeze(1)).sum(1) < 10
    return (
        f"label right {100 * right.float().mean():.1f} % of {len(right)}, "
        f"caption finds image in 10 {100 * found.float().mean():.1f} % of {len(found)}"
    )


@torch.inference_mode()
def validate(student: ImageStudent, photos: Photos, rows: np.ndarray, bank: TextBank) -> str:
    """Return scores on held-out training images, with texts mapped from the teacher's space."""
    images = embed_with(student.images, student.visual, photos, rows)
    labels, captions = torch.from_numpy(photos.labels[rows]), torch.from_numpy(photos.captions[rows, 0])
    asked = student.texts(bank.captions[captions[captions >= 0]])
    return score(images, labels, captions, student.texts(bank.labels[0]), asked)


def freeze_map(student: ImageStudent, average: ImageStudent, path: Path) -> None:
    """Freeze the averaged map, and write it to `path` for the text tower."""
    student.map.load_state_dict(average.map.state_dict())
    student.map.requires_grad_(False)
    files.save(average.map.state_dict(), path)


def load_map(path: Path) -> nn.Linear:
    """Load the map that `freeze_map` wrote."""
    state = torch.load(path, weights_only=True)
    mapping = nn.Linear(state["weight"].shape[1], state["weight"].shape[0])
    mapping.load_state_dict(state)
    return mapping


def train(
    clip: Any, photos: Photos, bank: TextBank, settings: loop.StageSettings, work_dir: Path, seed: int
) -> ImageStudent:
    """Train the image tower of `clip` and the map, or load them from `work_dir`."""
    path = work_dir / "image_tower.pt"
    student = ImageStudent(clip.visual, bank, clip.visual.output_dim)
    if path.exists():
        student.load_state_dict(torch.load(path, weights_only=True))
        return student.eval()
    rows, held_out = photos.split(VALIDATION_SHARE, seed)
    stage = loop.Stage("image_tower", student, settings, work_dir)
    sampler = Sampler(photos, rows, settings.batch, seed)
    sampler.go_on(stage.steps)
    neighbours = bank.neighbours()

    def loss() -> torch.Tensor:
        if student.map.weight.requires_grad and stage.share() >= _MAP_SHARE:
            freeze_map(student, stage.average.module, work_dir / "map.pt")
        return step_loss(student, sampler, bank, neighbours)

    trained: ImageStudent = stage.run(
        loss,
        lambda average: validate(average, photos, held_out, bank),
    )
    files.save(trained.state_dict(), path)
    return trained
