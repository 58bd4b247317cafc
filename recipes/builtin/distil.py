"""Stage 4: the image tower learns from a classifier that saw a million photographs, besides the images' own texts.

The text tower stands still; its embeddings of all texts are computed once. A small network, the guide, first learns
to bring the classifier's features to the texts. The image tower then learns three things of each image: the
classifier's features, where the guide puts it among all texts, and its own caption. What few images show is drawn
more often: the tower should see well whatever people have images of.
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

from pipelines.training import augment
from pipelines.training.files import save_atomically
from pipelines.training.loss import scale_of

from . import guide, image_tower, loop
from .data import Photos
from .sampler import Sampler

# The image's own caption weighs little: it is in the guide's place already, with more around it. A label says less
# than that place, and is left out.
_OWN_WEIGHT = 0.5
_PLACE_WEIGHT = 2.0
_NEAR_WEIGHT = 3.0
_FEATURE_WEIGHT = 3.0
# Texts at which the place of an image is compared, besides all labels and class names.
_CAPTIONS = 2048
# The image tower sees the square that the teacher saw, less up to this share of its side: little, for another square is
# another image, and its colours a little changed.
_SMALLEST_CROP = 0.88
_COLOUR_CHANGES = 0.4
# The most by which edges are sharpened. What is left of an image without its mean over 3 × 3 pixels has 0.22 of its
# standard deviation in photographs reduced to 96 pixels, 0.14 in these enlarged ones (in squares of them down to 0.10),
# and 0.22 again if they are sharpened by 1 (2.2).
_SHARPNESS = 2.5
# What is shown without colours is the same.
_GREY_SHARE = 0.1


@dataclass(frozen=True)
class Lesson:
    """What the loss of a step needs."""

    sampler: Sampler
    known: guide.Knowledge
    leader: guide.Guide


class Pupil(nn.Module):
    """The image tower with a linear guess, from its last feature map, of the teacher's features."""

    visual: Any

    def __init__(self, visual: Any, logit_scale: torch.Tensor, teacher_dim: int) -> None:
        super().__init__()
        self.visual = visual
        self.logit_scale = nn.Parameter(logit_scale.detach().clone())
        self.guess = nn.Linear(visual.attnpool.k_proj.in_features, teacher_dim)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit-length embeddings of normalised images, and the guess of the teacher's features."""
        visual, states = self.visual, pixels
        with loop.half_precision():
            for convolution, norm in ((1, 1), (2, 2), (3, 3)):
                states = getattr(visual, f"conv{convolution}")(states)
                states = visual.relu(getattr(visual, f"bn{norm}")(states))
            states = visual.avgpool(states)
            for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
                states = layer(states)
            # One query over a few positions: the kernel for long sequences takes a tenth of the step for its gradient.
            with sdpa_kernel(SDPBackend.MATH):
                embedded = visual.attnpool(states)
            guess = self.guess(states.mean((2, 3)))
        return F.normalize(embedded.float(), dim=-1), guess.float()

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Unit-length embeddings only."""
        return self(pixels)[0]


def place_loss(images: torch.Tensor, places: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """How the shares of attention that the images give to the texts differ from those of the guide's places."""
    wanted = (scale * places @ texts.T).softmax(1)
    return F.kl_div((scale * images @ texts.T).log_softmax(1), wanted, reduction="batchmean")


def views(pixels: torch.Tensor, squares: torch.Tensor, size: int) -> torch.Tensor:
    """What the image tower sees of the squares of training images: normalised."""
    smaller = squares[:, 2:] * augment.random_squares(len(squares), 1, _SMALLEST_CROP)
    cut = augment.crop(pixels, torch.cat([squares[:, :2] + smaller[:, :2], smaller[:, 2:]], 1), size)
    sharper = augment.sharpen(augment.flip_half(cut) / 255, _SHARPNESS)
    return augment.normalise(augment.jitter(sharper, _COLOUR_CHANGES, _GREY_SHARE))


def step_loss(pupil: Pupil, lesson: Lesson) -> torch.Tensor:
    """The images' own captions, their places among all texts, and the teacher's features."""
    batch, known = lesson.sampler.draw(), lesson.known
    looks = torch.randint(len(known.features), (len(batch.rows),))
    features, squares = known.features[looks, batch.rows].float(), known.squares[looks, batch.rows]
    pixels = views(batch.pixels, squares, pupil.visual.input_resolution)
    images, guess = pupil(pixels.contiguous(memory_format=torch.channels_last))
    places, scale = lesson.leader(features), lesson.leader.scale()
    captions = torch.randint(len(known.bank.captions), (_CAPTIONS,))
    own = image_tower.own_captions_loss(images, batch, known.bank.captions, captions, scale_of(pupil.logit_scale))
    template = int(torch.randint(len(known.classes), ()))
    named = place_loss(images, places, torch.cat([known.classes[template], known.bank.labels[template]]), scale)
    told = place_loss(images, places, known.bank.captions[captions], scale)
    near = 1 - (images * places).sum(1).mean()
    alike = 1 - F.cosine_similarity(guess, features).mean()
    return _OWN_WEIGHT * own + _PLACE_WEIGHT * (named + told) / 2 + _NEAR_WEIGHT * near + _FEATURE_WEIGHT * alike


@torch.inference_mode()
def validate(pupil: Pupil, photos: Photos, rows: np.ndarray, lesson: Lesson) -> str:
    """Scores on training images held out, and how near they are to the guide's places."""
    images = image_tower.embed_with(pupil.images, pupil.visual, photos, rows)
    labels, captions = torch.from_numpy(photos.labels[rows]), torch.from_numpy(photos.captions[rows, 0])
    told = lesson.known.bank.captions[captions[captions >= 0]]
    near = (images * lesson.leader(lesson.known.features[0, rows])).sum(1)
    rare = np.average(near, weights=lesson.known.rarity[rows])
    scores = image_tower.score(images, labels, captions, lesson.known.bank.labels[0], told)
    return f"{scores}, cosine to the guide {near.mean():.3f}, where all classes count alike {rare:.3f}"


def train(
    clip: Any, photos: Photos, lesson: Lesson, held_out: np.ndarray, settings: loop.StageSettings, work_dir: Path
) -> Any:
    """Trains the image side of `clip` and the logit scale, or loads them where `work_dir` has them."""
    path = work_dir / "distilled.pt"
    if not path.exists():
        pupil = Pupil(clip.visual.requires_grad_(True), clip.logit_scale, lesson.known.features.shape[2])
        pupil = pupil.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        stage = loop.Stage("distil", pupil, settings, work_dir)
        trained = stage.learn(
            lesson.sampler,
            lambda: step_loss(pupil, lesson),
            lambda average: validate(average, photos, held_out, lesson),
        )
        save_atomically({name: trained[name] for name in trained if not name.startswith("guess.")}, path)
    clip.load_state_dict(torch.load(path, weights_only=True), strict=False)
    return clip.eval()
