"""Stage 4: train the image tower on a classifier that saw a million photographs, and on the images' own texts.

The text tower is frozen; its embeddings of all texts are computed once. A small network, the projection head, has
learned to map the classifier's features into the space of the texts. The image tower then learns three things about
each image: the classifier's features, the embedding that the projection head gives it, and its own caption. Images of
rare things are drawn more often, because users may have images of anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from pipelines.training.data_loader import flip_half, jitter
from pipelines.training.model import scale_of

from . import augment, files, image_tower, loop, projection_head
from .data import Photos
from .sampler import Sampler

# The image's own caption has a small weight: the projected embedding contains it already, and more. A label says less
# than that embedding, so labels are left out.
_OWN_WEIGHT = 0.5
_SIMILARITY_WEIGHT = 2.0
_NEAR_WEIGHT = 3.0
_FEATURE_WEIGHT = 3.0
# Number of captions whose similarities are compared, in addition to all labels and class names.
_CAPTIONS = 2048
# The image tower sees at least this share of the side of the square that the teacher saw. The share is large, because
# another square is another image. The colours change a little, too.
_SMALLEST_CROP = 0.88
_COLOUR_CHANGES = 0.4
# Maximum strength of the sharpening. The difference of an image to its mean over 3 × 3 pixels has 0.22 of the image's
# standard deviation in photographs reduced to 96 pixels, 0.14 in these enlarged images, and down to 0.10 in squares of
# them. Sharpening by 1 (squares: by 2.2) restores 0.22.
_SHARPNESS = 2.5
# Share of images that lose their colours: what they show stays the same.
_GREY_SHARE = 0.1


@dataclass(frozen=True)
class StageData:
    """The inputs of a step's loss."""

    sampler: Sampler
    targets: projection_head.TeacherTargets
    head: projection_head.ProjectionHead


class Student(nn.Module):
    """The image tower, and a linear prediction of the teacher's features from its last feature map."""

    visual: Any

    def __init__(self, visual: Any, logit_scale: torch.Tensor, teacher_dim: int) -> None:
        super().__init__()
        self.visual = visual
        self.logit_scale = nn.Parameter(logit_scale.detach().clone())
        self.guess = nn.Linear(visual.attnpool.k_proj.in_features, teacher_dim)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return unit-length embeddings of normalised images, and predictions of the teacher's features."""
        visual, states = self.visual, pixels
        with loop.half_precision():
            for convolution, norm in ((1, 1), (2, 2), (3, 3)):
                states = getattr(visual, f"conv{convolution}")(states)
                states = visual.relu(getattr(visual, f"bn{norm}")(states))
            states = visual.avgpool(states)
            for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
                states = layer(states)
            # One query over a few positions: the gradient of the kernel for long sequences takes a tenth of the step.
            with sdpa_kernel(SDPBackend.MATH):
                embedded = visual.attnpool(states)
            guess = self.guess(states.mean((2, 3)))
        return F.normalize(embedded.float(), dim=-1), guess.float()

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the unit-length embeddings only."""
        return self.forward(pixels)[0]


def similarity_loss(
    images: torch.Tensor, projected: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Return the KL divergence between the text similarities of the images and of their projected embeddings."""
    expected = (scale * projected @ texts.T).softmax(1)
    return F.kl_div((scale * images @ texts.T).log_softmax(1), expected, reduction="batchmean")


def views(pixels: torch.Tensor, squares: torch.Tensor, size: int) -> torch.Tensor:
    """Return the augmented, normalised squares of training images that the image tower sees."""
    smaller = squares[:, 2:] * augment.random_squares(len(squares), 1, _SMALLEST_CROP)
    cut = augment.crop(pixels, torch.cat([squares[:, :2] + smaller[:, :2], smaller[:, 2:]], 1), size)
    sharper = augment.sharpen(flip_half(cut) / 255, _SHARPNESS)
    return augment.normalise(jitter(sharper, _COLOUR_CHANGES, _GREY_SHARE))


def step_loss(student: Student, stage_data: StageData) -> torch.Tensor:
    """Return a step's loss: for captions, similarities to texts, projected embeddings and the teacher's features."""
    batch, targets = stage_data.sampler.draw(), stage_data.targets
    looks = torch.randint(len(targets.features), (len(batch.rows),))
    features, squares = targets.features[looks, batch.rows].float(), targets.squares[looks, batch.rows]
    pixels = views(batch.pixels, squares, student.visual.input_resolution)
    images, guess = student(pixels.contiguous(memory_format=torch.channels_last))
    projected, scale = stage_data.head(features), stage_data.head.scale()
    captions = torch.randint(len(targets.bank.captions), (_CAPTIONS,))
    own = image_tower.own_captions_loss(images, batch, targets.bank.captions, captions, scale_of(student.logit_scale))
    template = int(torch.randint(len(targets.classes), ()))
    named = similarity_loss(
        images, projected, torch.cat([targets.classes[template], targets.bank.labels[template]]), scale
    )
    told = similarity_loss(images, projected, targets.bank.captions[captions], scale)
    near = 1 - (images * projected).sum(1).mean()
    alike = 1 - F.cosine_similarity(guess, features).mean()
    loss: torch.Tensor = (
        _OWN_WEIGHT * own + _SIMILARITY_WEIGHT * (named + told) / 2 + _NEAR_WEIGHT * near + _FEATURE_WEIGHT * alike
    )
    return loss


@torch.inference_mode()
def validate(student: Student, photos: Photos, rows: np.ndarray, stage_data: StageData) -> str:
    """Return scores on held-out training images, and their cosine to the projected embeddings."""
    images = image_tower.embed_with(student.images, student.visual, photos, rows)
    labels, captions = torch.from_numpy(photos.labels[rows]), torch.from_numpy(photos.captions[rows, 0])
    told = stage_data.targets.bank.captions[captions[captions >= 0]]
    near = (images * stage_data.head(stage_data.targets.features[0, rows])).sum(1)
    rare = np.average(near, weights=stage_data.targets.rarity[rows])
    scores = image_tower.score(images, labels, captions, stage_data.targets.bank.labels[0], told)
    return f"{scores}, cosine to the projection head {near.mean():.3f}, where all classes count alike {rare:.3f}"


def train(
    clip: Any, photos: Photos, stage_data: StageData, held_out: np.ndarray, settings: loop.StageSettings, work_dir: Path
) -> Any:
    """Train the image side of `clip` and the logit scale, or load them from `work_dir`."""
    path = work_dir / "distilled.pt"
    if not path.exists():
        student = Student(clip.visual.requires_grad_(True), clip.logit_scale, stage_data.targets.features.shape[2])
        student = student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        stage = loop.Stage("distil", student, settings, work_dir)
        trained = stage.learn(
            stage_data.sampler,
            lambda: step_loss(student, stage_data),
            lambda average: validate(average, photos, held_out, stage_data),
        )
        files.save({name: trained[name] for name in trained if not name.startswith("guess.")}, path)
    clip.load_state_dict(torch.load(path, weights_only=True), strict=False)
    return clip.eval()
