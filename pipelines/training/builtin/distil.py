"""Stage 4: the image tower learns from a classifier that saw a million photographs, besides the pictures' own texts.

The text tower stands still; its embeddings of all texts are computed once. A small network, the guide, first learns
to bring the classifier's features to the texts. The image tower then learns three things of each picture: the
classifier's features, where the guide puts it among all texts, and its own text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from .. import augment
from ..files import save_atomically
from ..loss import scale_of
from . import guide, image_tower, loop
from .data import Photos
from .sampler import Sampler

# The picture's own text weighs little: its label or caption is in the guide's place already, with more around it.
_OWN_WEIGHT = 0.5
_PLACE_WEIGHT = 2.0
_NEAR_WEIGHT = 3.0
_FEATURE_WEIGHT = 3.0
# Texts at which the place of a picture is compared, besides all labels and class names.
_CAPTIONS = 2048
# Teacher and guide saw whole pictures in their own colours. At first the image tower learns most where it sees much the
# same; later views differ more, lest it learn the pictures by heart (begun at minute 60 of 95, this did not raise the
# held-out cosine). From the start to the end:
_SMALLEST_CROP = (0.85, 0.72)
_COLOUR_CHANGES = (0.0, 0.6)
# What is shown without colours is the same.
_GREY_SHARE = 0.1


@dataclass(frozen=True)
class Lesson:
    """What the loss of a step needs: `places` are the guide's unit-length embeddings of all pictures."""

    sampler: Sampler
    known: guide.Knowledge
    places: torch.Tensor
    scale: torch.Tensor


class Pupil(nn.Module):
    """The image tower with a linear guess, from its last feature map, of the teacher's features."""

    visual: Any

    def __init__(self, visual: Any, logit_scale: torch.Tensor, teacher_dim: int) -> None:
        super().__init__()
        self.visual = visual
        self.logit_scale = nn.Parameter(logit_scale.detach().clone())
        self.guess = nn.Linear(visual.attnpool.k_proj.in_features, teacher_dim)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit-length embeddings of normalised pictures, and the guess of the teacher's features."""
        visual, states = self.visual, pixels
        with loop.half_precision():
            for convolution, norm in ((1, 1), (2, 2), (3, 3)):
                states = getattr(visual, f"conv{convolution}")(states)
                states = visual.relu(getattr(visual, f"bn{norm}")(states))
            states = visual.avgpool(states)
            for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
                states = layer(states)
            embedded, guess = visual.attnpool(states), self.guess(states.mean((2, 3)))
        return F.normalize(embedded.float(), dim=-1), guess.float()

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Unit-length embeddings only."""
        return self(pixels)[0]


def prepare_lesson(
    clip: Any, photos: Photos, sampler: Sampler, held_out_names: set[str], work_dir: Path, guide_steps: int
) -> Lesson:
    """What teacher and guide make of all pictures."""
    known = guide.know(clip, photos, held_out_names, work_dir)
    leader = guide.prepare(known, sampler, work_dir, guide_steps)
    places = torch.cat([leader(part) for part in known.features.split(4096)])
    return Lesson(sampler, known, places, leader.scale())


def place_loss(images: torch.Tensor, places: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """How the shares of attention that the pictures give to the texts differ from those of the guide's places."""
    wanted = (scale * places @ texts.T).softmax(1)
    return F.kl_div((scale * images @ texts.T).log_softmax(1), wanted, reduction="batchmean")


def views(pixels: torch.Tensor, size: int, share: float) -> torch.Tensor:
    """What the image tower sees of training pictures when `share` of the stage is over: normalised."""
    smallest, colours = (first + share * (last - first) for first, last in (_SMALLEST_CROP, _COLOUR_CHANGES))
    return augment.normalise(augment.jitter(augment.crop_and_flip(pixels, size, smallest) / 255, colours, _GREY_SHARE))


def step_loss(pupil: Pupil, lesson: Lesson, share: float) -> torch.Tensor:
    """The picture's own text, its place among all texts, and the teacher's features."""
    batch, known = lesson.sampler.draw(), lesson.known
    pixels = views(batch.pixels, pupil.visual.input_resolution, share)
    images, guess = pupil(pixels.contiguous(memory_format=torch.channels_last))
    scale = scale_of(pupil.logit_scale)
    own = image_tower.text_loss(images, batch, known.bank, known.neighbours, scale)
    places = lesson.places[batch.rows]
    captions = known.bank.captions[torch.randint(len(known.bank.captions), (_CAPTIONS,))]
    template = int(torch.randint(len(known.classes), ()))
    named = place_loss(images, places, torch.cat([known.classes[template], known.bank.labels[template]]), lesson.scale)
    told = place_loss(images, places, captions, lesson.scale)
    near = 1 - (images * places).sum(1).mean()
    alike = 1 - F.cosine_similarity(guess, known.features[batch.rows].float()).mean()
    return _OWN_WEIGHT * own + _PLACE_WEIGHT * (named + told) / 2 + _NEAR_WEIGHT * near + _FEATURE_WEIGHT * alike


@torch.inference_mode()
def validate(pupil: Pupil, photos: Photos, rows: np.ndarray, lesson: Lesson) -> str:
    """Scores on training pictures held out, and how near they are to the guide's places."""
    images = image_tower.embed_with(pupil.images, pupil.visual, photos, rows)
    labels, captions = torch.from_numpy(photos.labels[rows]), torch.from_numpy(photos.captions[rows, 0])
    told = lesson.known.bank.captions[captions[captions >= 0]]
    near = (images * lesson.places[rows]).sum(1).mean()
    scores = image_tower.score(images, labels, captions, lesson.known.bank.labels[0], told)
    return f"{scores}, cosine to the guide {near:.3f}"


def train(
    clip: Any, photos: Photos, lesson: Lesson, held_out: np.ndarray, settings: loop.StageSettings, work_dir: Path
) -> Any:
    """Trains the image side of `clip` and the logit scale, or loads them where `work_dir` has them."""
    path = work_dir / "distilled.pt"
    if not path.exists():
        pupil = Pupil(clip.visual.requires_grad_(True), clip.logit_scale, lesson.known.features.shape[1])
        pupil = pupil.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        stage = loop.Stage("distil", pupil, settings, work_dir)
        lesson.sampler.go_on(stage.steps)

        def check(average: Pupil) -> str:
            return validate(average, photos, held_out, lesson)

        stage.report(math.nan, check)
        trained = stage.run(lambda: step_loss(pupil, lesson, stage.share()), check).state_dict()
        save_atomically({name: trained[name] for name in trained if not name.startswith("guess.")}, path)
    clip.load_state_dict(torch.load(path, weights_only=True), strict=False)
    return clip.eval()
