"""Stage 3: both towers learn together, on the pictures, without the teacher in between."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from .. import augment
from ..files import save_atomically
from ..loss import scale_of
from . import image_tower, loop, text_tower, texts
from .data import Photos
from .sampler import Sampler

# Labels drawn as wrong answers beside those of the batch: encoding all of them at every step would cost more
# than the pictures do.
_EXTRA_LABELS = 96
# Texts of the corpus that keep to the teacher meanwhile, so that words no picture shows are not lost.
_ANCHOR_TEXTS = 128
_ANCHOR_WEIGHT = 2.0


@dataclass
class Lesson:
    """What the loss of a step needs."""

    sampler: Sampler
    label_tokens: torch.Tensor
    caption_tokens: torch.Tensor
    neighbours: torch.Tensor
    corpus: text_tower.Corpus
    targets: torch.Tensor
    chances: torch.Tensor


def embed_pictures(clip: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Unit-length embeddings of normalised pictures."""
    with loop.half_precision():
        embedded = clip.visual(pixels)
    return F.normalize(embedded.float(), dim=-1)


def _choose_labels(labels: torch.Tensor, total: int) -> torch.Tensor:
    """The labels of the batch and some others, each once."""
    return torch.cat([labels, torch.randint(total, (_EXTRA_LABELS,))]).unique()


def encode_lengthwise(clip: Any, parts: list[torch.Tensor]) -> list[torch.Tensor]:
    """Encodes groups of token rows of different width, one forward pass a group."""
    return [text_tower.encode(clip, part) if len(part) else torch.zeros(0, 1) for part in parts]


def step_loss(clip: Any, lesson: Lesson) -> torch.Tensor:
    """Labels and captions through the text tower, plus the anchor to the teacher."""
    _, pixels, labels, captions = batch = lesson.sampler.draw()
    images = embed_pictures(clip, augment.augment(pixels, clip.visual.input_resolution))
    captioned = batch.captioned()
    template = int(torch.randint(len(lesson.label_tokens), ()))
    choices = _choose_labels(labels[captioned:], lesson.label_tokens.shape[1])
    anchors = torch.multinomial(lesson.chances, _ANCHOR_TEXTS, replacement=True)
    label_texts, caption_texts, anchor_texts = encode_lengthwise(
        clip,
        [
            lesson.label_tokens[template, choices],
            lesson.caption_tokens[captions[:captioned]],
            lesson.corpus.tokens[anchors],
        ],
    )
    scale = scale_of(clip.logit_scale)
    loss = _ANCHOR_WEIGHT * (1 - (anchor_texts * lesson.targets[anchors]).sum(-1)).mean()
    if captioned:
        told = image_tower.caption_loss(images[:captioned], caption_texts, captions[:captioned], scale)
        loss = loss + told * captioned / len(labels)
    if captioned < len(labels):
        logits = scale * images[captioned:] @ label_texts.T
        neighbours = lesson.neighbours[choices][:, choices]
        neighbours = neighbours / neighbours.sum(1, keepdim=True).clamp_min(1e-9)
        named = image_tower.label_loss(logits, torch.searchsorted(choices, labels[captioned:]), neighbours)
        loss = loss + named * (1 - captioned / len(labels))
    return loss


@torch.inference_mode()
def validate(clip: Any, photos: Photos, rows: np.ndarray, lesson: Lesson) -> str:
    """As the validation of the image tower, but through the real text tower."""
    embeddings = image_tower.embed_with(lambda pixels: embed_pictures(clip, pixels), clip.visual, photos, rows)
    labels, captions = torch.from_numpy(photos.labels[rows]), torch.from_numpy(photos.captions[rows, 0])
    anchor = text_tower.validate(clip, lesson.corpus, lesson.targets)
    bank = text_tower.encode(clip, lesson.label_tokens[0])
    told = text_tower.encode(clip, lesson.caption_tokens[captions[captions >= 0]])
    return f"{image_tower.score(embeddings, labels, captions, bank, told)}, {anchor}"


def prepare_lesson(
    photos: Photos,
    bank: image_tower.TextBank,
    corpus: text_tower.Corpus,
    targets: torch.Tensor,
    sampler: Sampler,
    context: int,
) -> Lesson:
    """Tokenises labels and captions, and gathers the rest."""
    tokenizer = text_tower.make_tokenizer()
    label_tokens = text_tower.tokenize(tokenizer, texts.label_bank(photos.label_texts), context)
    return Lesson(
        sampler=sampler,
        label_tokens=label_tokens.reshape(len(texts.TEMPLATES), len(photos.label_texts), -1),
        caption_tokens=text_tower.tokenize(tokenizer, photos.caption_texts, context),
        neighbours=bank.neighbours(),
        corpus=corpus,
        targets=targets,
        chances=corpus.weights[: len(corpus)].float(),
    )


def train(
    clip: Any,
    photos: Photos,
    lesson: Lesson,
    held_out: np.ndarray,
    settings: loop.StageSettings,
    work_dir: Path,
) -> Any:
    """Tunes both towers, or loads them where `work_dir` has them."""
    path = work_dir / "joint.pt"
    if path.exists():
        clip.load_state_dict(torch.load(path, weights_only=True))
        return clip.eval()
    clip.requires_grad_(True)
    stage = loop.Stage("joint", clip, settings, work_dir)
    lesson.sampler.go_on(stage.steps)
    stage.report(math.nan, lambda average: validate(average, photos, held_out, lesson))
    trained = stage.run(lambda: step_loss(clip, lesson), lambda average: validate(average, photos, held_out, lesson))
    save_atomically(trained.state_dict(), path)
    return trained
