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
from ..optimiser import make_optimiser
from . import image_tower, loop, text_tower, vision_teacher
from .data import Photos
from .texts import TEMPLATES, label_bank

# Weights against the loss of the picture's own text.
_PLACE_WEIGHT = 2.0
_NEAR_WEIGHT = 3.0
_FEATURE_WEIGHT = 3.0
# Texts at which the place of a picture is compared, besides all labels and class names.
_CAPTIONS = 2048
GUIDE_STEPS = 1000
_GUIDE_BATCH, _GUIDE_RATE = 512, 1e-3
# Teacher and guide saw whole pictures: what the image tower sees of them must not be too small a part.
_SMALLEST_CROP = 0.8


@dataclass(frozen=True)
class Lesson:
    """What the loss of a step needs; texts as unit-length embeddings of the text tower.

    `classes` are the teacher's classes by their names (templates, names, dim), `probabilities` what it saw of them,
    `features` its features (centred and scaled) and `places` the guide's unit-length embeddings.
    """

    sampler: image_tower.Sampler
    bank: image_tower.TextBank
    neighbours: torch.Tensor
    classes: torch.Tensor
    probabilities: torch.Tensor
    features: torch.Tensor
    places: torch.Tensor
    scale: torch.Tensor


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
        return self.logit_scale.exp().clamp(max=100)


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


@torch.inference_mode()
def embed(clip: Any, sentences: list[str], batch: int = 256) -> torch.Tensor:
    """The text tower's embeddings, computed by length, so that short texts are not padded to the longest."""
    tokens = text_tower.tokenize(text_tower.make_tokenizer(), sentences, clip.context_length)
    order = (tokens > 0).sum(1).argsort()
    embedded = torch.empty(len(tokens), clip.text_projection.shape[1])
    for rows in order.split(batch):
        embedded[rows] = text_tower.encode(clip, tokens[rows])
    return embedded


def embed_texts(clip: Any, photos: Photos, names: list[str], work_dir: Path) -> tuple[image_tower.TextBank, Any]:
    """Labels and captions, and the class names (templates, names, dim), from `work_dir` where they are there."""
    path = work_dir / "tower_texts.pt"
    if not path.exists():
        shape = (len(TEMPLATES), -1, clip.text_projection.shape[1])
        labels = embed(clip, label_bank(photos.label_texts)).reshape(shape)
        classes = embed(clip, label_bank(names)).reshape(shape)
        save_atomically({"labels": labels, "captions": embed(clip, photos.caption_texts), "classes": classes}, path)
    saved = torch.load(path, weights_only=True)
    return image_tower.TextBank(saved["labels"], saved["captions"]), saved["classes"]


def train_guide(lesson: dict[str, Any], sampler: image_tower.Sampler, steps: int) -> Guide:
    """Learns from the pictures' own texts and from the names of the classes that the teacher saw."""
    bank, features, probabilities = lesson["bank"], lesson["features"], lesson["probabilities"]
    guide = Guide(features.shape[1], bank.captions.shape[1])
    optimiser = make_optimiser(guide, _GUIDE_RATE, 0.05)
    own = image_tower.Sampler(sampler.photos, sampler.rows, _GUIDE_BATCH, 0)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = _GUIDE_RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        batch = own.draw()
        images = guide(features[batch.rows])
        loss = image_tower.text_loss(images, batch, bank, lesson["neighbours"], guide.scale())
        classes = lesson["classes"][int(torch.randint(len(lesson["classes"]), ()))]
        loss = loss + F.cross_entropy(guide.scale() * images @ classes.T, probabilities[batch.rows].float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return guide.eval().requires_grad_(False)


def prepare_lesson(
    clip: Any,
    photos: Photos,
    sampler: image_tower.Sampler,
    held_out_names: set[str],
    work_dir: Path,
    guide_steps: int = GUIDE_STEPS,
) -> Lesson:
    """Shows the pictures to the teacher, embeds all texts and trains the guide, or loads it from `work_dir`."""
    seen = vision_teacher.look(photos, work_dir)
    names, probabilities = seen.without(held_out_names)
    bank, classes = embed_texts(clip, photos, names, work_dir)
    features = seen.features.float()
    features = F.normalize((features - features.mean(0)) / features.std(0).clamp_min(1e-3), dim=-1)
    features = (features * math.sqrt(features.shape[1])).half()
    known = {
        "bank": bank, "neighbours": bank.neighbours(), "classes": classes,
        "probabilities": probabilities, "features": features,
    }  # fmt: skip
    path = work_dir / "guide.pt"
    if path.exists():
        guide = Guide(features.shape[1], bank.captions.shape[1]).eval().requires_grad_(False)
        guide.load_state_dict(torch.load(path, weights_only=True))
    else:
        guide = train_guide(known, sampler, guide_steps)
        save_atomically(guide.state_dict(), path)
    places = torch.cat([guide(part) for part in features.split(4096)])
    return Lesson(**known, sampler=sampler, places=places, scale=guide.scale())


def place_loss(images: torch.Tensor, places: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """How the shares of attention that the pictures give to the texts differ from those of the guide's places."""
    wanted = (scale * places @ texts.T).softmax(1)
    return F.kl_div((scale * images @ texts.T).log_softmax(1), wanted, reduction="batchmean")


def step_loss(pupil: Pupil, lesson: Lesson) -> torch.Tensor:
    """The picture's own text, its place among all texts, and the teacher's features."""
    batch = lesson.sampler.draw()
    pixels = augment.augment(batch.pixels, pupil.visual.input_resolution, _SMALLEST_CROP)
    images, guess = pupil(pixels.contiguous(memory_format=torch.channels_last))
    scale = pupil.logit_scale.exp().clamp(max=100)
    own = image_tower.text_loss(images, batch, lesson.bank, lesson.neighbours, scale)
    places = lesson.places[batch.rows]
    captions = lesson.bank.captions[torch.randint(len(lesson.bank.captions), (_CAPTIONS,))]
    template = int(torch.randint(len(lesson.classes), ()))
    named = place_loss(
        images, places, torch.cat([lesson.classes[template], lesson.bank.labels[template]]), lesson.scale
    )
    told = place_loss(images, places, captions, lesson.scale)
    near = 1 - (images * places).sum(1).mean()
    alike = 1 - F.cosine_similarity(guess, lesson.features[batch.rows].float()).mean()
    return own + _PLACE_WEIGHT * (named + told) / 2 + _NEAR_WEIGHT * near + _FEATURE_WEIGHT * alike


@torch.inference_mode()
def validate(pupil: Pupil, photos: Photos, rows: np.ndarray, lesson: Lesson) -> str:
    """Scores on training pictures held out, and how near they are to the guide's places."""
    images = image_tower.embed_with(pupil.images, pupil.visual, photos, rows)
    labels, captions = torch.from_numpy(photos.labels[rows]), torch.from_numpy(photos.captions[rows, 0])
    told = lesson.bank.captions[captions[captions >= 0]]
    near = (images * lesson.places[rows]).sum(1).mean()
    scores = image_tower.score(images, labels, captions, lesson.bank.labels[0], told)
    return f"{scores}, cosine to the guide {near:.3f}"


def train(
    clip: Any, photos: Photos, lesson: Lesson, held_out: np.ndarray, settings: loop.StageSettings, work_dir: Path
) -> Any:
    """Trains the image side of `clip` and the logit scale, or loads them where `work_dir` has them."""
    path = work_dir / "distilled.pt"
    if not path.exists():
        pupil = Pupil(clip.visual.requires_grad_(True), clip.logit_scale, lesson.features.shape[1])
        pupil = pupil.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        stage = loop.Stage("distil", pupil, settings, work_dir)

        def check(average: Pupil) -> str:
            return validate(average, photos, held_out, lesson)

        stage.report(math.nan, check)
        trained = stage.run(lambda: step_loss(pupil, lesson), check).state_dict()
        save_atomically({name: trained[name] for name in trained if not name.startswith("guess.")}, path)
    clip.load_state_dict(torch.load(path, weights_only=True), strict=False)
    return clip.eval()
