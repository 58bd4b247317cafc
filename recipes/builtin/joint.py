"""Stage 3: the text tower and the guide learn together, on what the image teacher saw.

The image teacher stands still, so that a step costs little more than its texts: image-text tuning with a locked image
side (Zhai et al. 2022, "LiT: Zero-Shot Transfer with Locked-image text Tuning").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipelines.training.files import save_atomically

from . import guide, image_tower, loop, text_tower, texts
from .data import Photos
from .sampler import Sampler

# Labels and class names drawn as wrong answers beside those of the batch, and captions without their image.
_EXTRA_LABELS = 96
_CLASS_NAMES = 256
_EXTRA_CAPTIONS = 64
# Texts that keep to where they were meanwhile, so that words no image shows are not lost.
_ANCHOR_TEXTS = 128
_ANCHOR_WEIGHT = 2.0


class Pair(nn.Module):
    """The text side of `clip`, and the guide."""

    clip: Any
    leader: guide.Guide

    def __init__(self, clip: Any, leader: guide.Guide) -> None:
        super().__init__()
        clip.requires_grad_(True).visual.requires_grad_(False)
        self.clip, self.leader = clip, leader.requires_grad_(True)


@dataclass(frozen=True)
class Lesson:
    """What the loss of a step needs: tokens of labels and class names are (templates, texts, length)."""

    sampler: Sampler
    known: guide.Knowledge
    labels: torch.Tensor
    captions: torch.Tensor
    classes: torch.Tensor
    anchors: torch.Tensor
    targets: torch.Tensor


@torch.inference_mode()
def prepare_lesson(clip: Any, photos: Photos, known: guide.Knowledge, sampler: Sampler, phrases: int) -> Lesson:
    """Tokenises all texts, and embeds words and phrases as the text tower does before the stage."""
    tokenizer, shape = text_tower.make_tokenizer(), (len(texts.TEMPLATES), -1)

    def tokenize(sentences: list[str]) -> torch.Tensor:
        return text_tower.tokenize(tokenizer, sentences, clip.context_length)

    words = texts.whole_words(list(tokenizer.encoder))
    anchors = tokenize(
        [
            *texts.word_phrases(words, phrases, sampler.seed),
            *texts.caption_pieces(photos.caption_texts, phrases // 2, sampler.seed),
        ]
    )
    return Lesson(
        sampler=sampler,
        known=known,
        labels=tokenize(texts.label_bank(photos.label_texts)).unflatten(0, shape),
        captions=tokenize(photos.caption_texts),
        classes=tokenize(texts.label_bank(known.names)).unflatten(0, shape),
        anchors=anchors,
        targets=text_tower.encode_by_length(clip, [anchors], batch=256)[0],
    )


def step_loss(pair: Pair, lesson: Lesson) -> torch.Tensor:
    """Captions, labels and the names of the teacher's classes against the guide's places, and the anchors."""
    batch, known = lesson.sampler.draw(), lesson.known
    captioned, total = batch.captioned(), len(batch.rows)
    template = int(torch.randint(len(lesson.labels), ()))
    others = torch.randint(lesson.labels.shape[1], (_EXTRA_LABELS,))
    labels = torch.cat([batch.labels[captioned:], others]).unique()
    captions = torch.cat([batch.captions[:captioned], torch.randint(len(lesson.captions), (_EXTRA_CAPTIONS,))])
    classes = torch.randperm(lesson.classes.shape[1])[:_CLASS_NAMES]
    anchors = torch.randint(len(lesson.anchors), (_ANCHOR_TEXTS,))
    tokens = [
        lesson.labels[template, labels],
        lesson.captions[captions],
        lesson.classes[template, classes],
        lesson.anchors[anchors],
    ]
    named, told, seen, kept = text_tower.encode_by_length(pair.clip, tokens)
    looks = torch.randint(len(known.features), (total,))
    images, scale = pair.leader(known.features[looks, batch.rows]), pair.leader.scale()
    shares = known.probabilities[batch.rows][:, classes].float()
    loss = -(shares * (scale * images @ seen.T).log_softmax(1)).sum(1).mean() / shares.sum(1).mean()
    loss = loss + _ANCHOR_WEIGHT * (1 - (kept * lesson.targets[anchors]).sum(1).mean())
    if captioned:
        loss = loss + captioned / total * image_tower.caption_loss(images[:captioned], told, captions, scale)
    if captioned < total:
        near = known.neighbours[labels][:, labels]
        right = torch.searchsorted(labels, batch.labels[captioned:])
        logits = scale * images[captioned:] @ named.T
        near = near / near.sum(1, keepdim=True).clamp_min(1e-9)
        loss = loss + (1 - captioned / total) * image_tower.label_loss(logits, right, near)
    return loss


@torch.inference_mode()
def validate(pair: Pair, photos: Photos, rows: np.ndarray, lesson: Lesson) -> str:
    """As the validation of the image tower, with teacher and guide in its place."""
    labels, captions = torch.from_numpy(photos.labels[rows]), torch.from_numpy(photos.captions[rows, 0])
    images = pair.leader(lesson.known.features[0, rows])
    tokens = [lesson.labels[0], lesson.captions[captions[captions >= 0]], lesson.anchors[:1000]]
    bank, told, kept = text_tower.encode_by_length(pair.clip, tokens)
    anchor = (kept * lesson.targets[:1000]).sum(1).mean()
    return f"{image_tower.score(images, labels, captions, bank, told)}, cosine of the anchors {anchor:.3f}"


def train(
    pair: Pair,
    photos: Photos,
    prepare: Callable[[], Lesson],
    held_out: np.ndarray,
    settings: loop.StageSettings,
    work_dir: Path,
) -> Pair:
    """Tunes the text side of the pair's CLIP and its guide, or loads both from `work_dir`.

    `prepare` gives the lesson; it embeds many texts, and is called only where there is something to learn.
    """
    path = work_dir / "joint.pt"
    if not path.exists():
        # Before the stage takes up its checkpoint: the anchors keep to where the text tower began.
        lesson = prepare()
        stage = loop.Stage("joint", pair, settings, work_dir)
        state = stage.learn(
            lesson.sampler,
            lambda: step_loss(pair, lesson),
            lambda average: validate(average, photos, held_out, lesson),
        )
        save_atomically({name: state[name] for name in state if not name.startswith("clip.visual.")}, path)
    pair.load_state_dict(torch.load(path, weights_only=True), strict=False)
    return pair.eval().requires_grad_(False)
