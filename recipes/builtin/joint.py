"""Stage 3: train the text tower and the projection head together, on the features of the image teacher.

The image teacher is frozen, so a step costs little more than encoding its texts. This is image-text tuning with a
locked image side (Zhai et al. 2022, "LiT: Zero-Shot Transfer with Locked-image text Tuning").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from . import files, image_tower, loop, projection_head, text_tower, texts
from .data import Photos
from .sampler import Sampler

# Number of labels drawn as negatives, of class names to predict, and of captions drawn as negatives, for each step.
_EXTRA_LABELS = 96
_CLASS_NAMES = 256
_EXTRA_CAPTIONS = 64
# Number of texts per step whose embeddings must not move, so that words that no image shows are not forgotten.
_ANCHOR_TEXTS = 128
_ANCHOR_WEIGHT = 2.0


class Pair(nn.Module):
    """The text side of `clip`, and the projection head."""

    clip: Any
    head: projection_head.ProjectionHead

    def __init__(self, clip: Any, head: projection_head.ProjectionHead) -> None:
        super().__init__()
        clip.requires_grad_(True).visual.requires_grad_(False)
        self.clip, self.head = clip, head.requires_grad_(True)


@dataclass(frozen=True)
class StageData:
    """The inputs of a step's loss; tokens of labels and class names are (templates, texts, length)."""

    sampler: Sampler
    targets: projection_head.TeacherTargets
    labels: torch.Tensor
    captions: torch.Tensor
    classes: torch.Tensor
    anchors: torch.Tensor
    anchor_embeddings: torch.Tensor


@torch.inference_mode()
def build_data(
    clip: Any, photos: Photos, targets: projection_head.TeacherTargets, sampler: Sampler, phrases: int
) -> StageData:
    """Tokenize all texts, and embed the anchor texts with the text tower as it is before the stage."""
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
    return StageData(
        sampler=sampler,
        targets=targets,
        labels=tokenize(texts.label_bank(photos.label_texts)).unflatten(0, shape),
        captions=tokenize(photos.caption_texts),
        classes=tokenize(texts.label_bank(targets.names)).unflatten(0, shape),
        anchors=anchors,
        anchor_embeddings=text_tower.encode_by_length(clip, [anchors], batch=256)[0],
    )


def step_loss(pair: Pair, stage_data: StageData) -> torch.Tensor:
    """Return a step's loss: captions, labels and class names against projected embeddings, and the anchors."""
    batch, targets = stage_data.sampler.draw(), stage_data.targets
    captioned, total = batch.captioned(), len(batch.rows)
    template = int(torch.randint(len(stage_data.labels), ()))
    others = torch.randint(stage_data.labels.shape[1], (_EXTRA_LABELS,))
    labels = torch.cat([batch.labels[captioned:], others]).unique()
    captions = torch.cat([batch.captions[:captioned], torch.randint(len(stage_data.captions), (_EXTRA_CAPTIONS,))])
    classes = torch.randperm(stage_data.classes.shape[1])[:_CLASS_NAMES]
    anchors = torch.randint(len(stage_data.anchors), (_ANCHOR_TEXTS,))
    tokens = [
        stage_data.labels[template, labels],
        stage_data.captions[captions],
        stage_data.classes[template, classes],
        stage_data.anchors[anchors],
    ]
    named, told, seen, kept = text_tower.encode_by_length(pair.clip, tokens)
    looks = torch.randint(len(targets.features), (total,))
    images, scale = pair.head(targets.features[looks, batch.rows]), pair.head.scale()
    shares = targets.probabilities[batch.rows][:, classes].float()
    loss: torch.Tensor = -(shares * (scale * images @ seen.T).log_softmax(1)).sum(1).mean() / shares.sum(1).mean()
    loss = loss + _ANCHOR_WEIGHT * (1 - (kept * stage_data.anchor_embeddings[anchors]).sum(1).mean())
    if captioned:
        loss = loss + captioned / total * image_tower.caption_loss(images[:captioned], told, captions, scale)
    if captioned < total:
        near = targets.neighbours[labels][:, labels]
        right = torch.searchsorted(labels, batch.labels[captioned:])
        logits = scale * images[captioned:] @ named.T
        near = near / near.sum(1, keepdim=True).clamp_min(1e-9)
        loss = loss + (1 - captioned / total) * image_tower.label_loss(logits, right, near)
    return loss


@torch.inference_mode()
def validate(pair: Pair, photos: Photos, rows: np.ndarray, stage_data: StageData) -> str:
    """Return the scores of `image_tower.score` for the teacher and projection head in place of the image tower."""
    labels, captions = torch.from_numpy(photos.labels[rows]), torch.from_numpy(photos.captions[rows, 0])
    images = pair.head(stage_data.targets.features[0, rows])
    tokens = [stage_data.labels[0], stage_data.captions[captions[captions >= 0]], stage_data.anchors[:1000]]
    bank, told, kept = text_tower.encode_by_length(pair.clip, tokens)
    anchor = (kept * stage_data.anchor_embeddings[:1000]).sum(1).mean()
    return f"{image_tower.score(images, labels, captions, bank, told)}, cosine of the anchors {anchor:.3f}"


def train(
    pair: Pair,
    photos: Photos,
    prepare: Callable[[], StageData],
    held_out: np.ndarray,
    settings: loop.StageSettings,
    work_dir: Path,
) -> Pair:
    """Tune the text side of the pair's CLIP and its projection head, or load both from `work_dir`.

    `prepare` returns the data of the stage. It embeds many texts, so it is called only if the stage is not finished.
    """
    path = work_dir / "joint.pt"
    if not path.exists():
        # Called before the stage loads its checkpoint: the text tower must embed the anchors as it was at the start.
        stage_data = prepare()
        stage = loop.Stage("joint", pair, settings, work_dir)
        state = stage.learn(
            stage_data.sampler,
            lambda: step_loss(pair, stage_data),
            lambda average: validate(average, photos, held_out, stage_data),
        )
        files.save({name: state[name] for name in state if not name.startswith("clip.visual.")}, path)
    pair.load_state_dict(torch.load(path, weights_only=True), strict=False)
    return pair.eval().requires_grad_(False)
