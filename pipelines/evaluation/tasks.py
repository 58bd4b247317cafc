"""The ways of asking: class names → images, captions ↔ images, an image → images of its class.

Every ranking is an exact one over all stored vectors, so that these figures are the model's; what the index adds to
the errors is measured apart (`index_loss.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .ground_truth import Truth
from .metrics import CAPTION_METRICS, LABEL_METRICS
from .prompts import EmbedTexts, embed_class, spoken, unit
from .query_set import Candidates, Questions, ask
from .results import Task
from .stored import Advance, Stored

_TEXTS_AT_ONCE = 64


@dataclass(frozen=True)
class Sampling:
    """At most `queries` of a kind (0 takes all), drawn with `seed`."""

    queries: int
    seed: int

    def of(self, count: int) -> np.ndarray:
        """The chosen numbers below `count`, ascending."""
        if not self.queries or count <= self.queries:
            return np.arange(count)
        return np.sort(np.random.default_rng(self.seed).choice(count, self.queries, replace=False))


def rows_by_class(stored: Stored, truth: Truth) -> dict[str, np.ndarray]:
    """The rows of each class's images, classes sorted."""
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, key in enumerate(stored.ids.tolist()):
        if key in truth.labels:
            rows[truth.labels[key]].append(row)
    return {label: np.array(rows[label], np.int64) for label in sorted(rows)}


def class_names(
    stored: Stored, truth: Truth, templates: Sequence[str], embed: EmbedTexts, sampling: Sampling, advance: Advance
) -> tuple[Task, np.ndarray]:
    """Each class name is a query, its images are right. Also returns the queries' vectors."""
    classes = rows_by_class(stored, truth)
    names = [list(classes)[number] for number in sampling.of(len(classes))]
    embedded = []
    for name in names:
        embedded.append(embed_class(spoken(name), templates, embed))
        advance(1)
    vectors = np.stack(embedded)
    questions = Questions(
        "labels", "class name → images", LABEL_METRICS, [spoken(name) for name in names], False, vectors,
        [classes[name] for name in names], np.arange(len(names)), names,
    )  # fmt: skip
    return ask(questions, Candidates(stored.vectors, stored.paths), sampling.seed), vectors


def same_class(stored: Stored, truth: Truth, sampling: Sampling) -> Task | None:
    """Each image is a query and left out of the candidates; the others of its class are right. None without such."""
    classes = {label: rows for label, rows in rows_by_class(stored, truth).items() if rows.size > 1}
    pairs = [(row, label) for label, rows in classes.items() for row in rows.tolist()]
    if not pairs:
        return None
    chosen = [pairs[number] for number in sampling.of(len(pairs))]
    numbers = {label: number for number, label in enumerate(classes)}
    rows = np.array([row for row, _ in chosen], np.int64)
    questions = Questions(
        "images", "image → images of its class", LABEL_METRICS, [stored.paths[row] for row in rows], True,
        np.asarray(stored.vectors[rows]), [classes[label][classes[label] != row] for row, label in chosen],
        np.array([numbers[label] for _, label in chosen]), [label for _, label in chosen], rows,
    )  # fmt: skip
    return ask(questions, Candidates(stored.vectors, stored.paths), sampling.seed)


def embed_captions(truth: Truth, embed: EmbedTexts, advance: Advance) -> np.ndarray:
    """float32[captions, dim], unit length."""
    parts = []
    for start in range(0, len(truth.captions), _TEXTS_AT_ONCE):
        texts = [caption.text for caption in truth.captions[start : start + _TEXTS_AT_ONCE]]
        parts.append(unit(embed(texts)))
        advance(len(texts))
    return np.concatenate(parts)


def caption_tasks(stored: Stored, truth: Truth, vectors: np.ndarray, sampling: Sampling) -> list[Task]:
    """Captions → images, and images → captions.

    The protocol of Karpathy & Fei-Fei 2015 (§4.1), which the published tables follow (for CLIP: CLIP_benchmark's
    `zeroshot_retrieval.py`): every caption is a query of its own for its one image; an image has found its caption
    when any of its captions, of all the captions, is among the first k.
    """
    rows = stored.rows_by_id()
    images = np.array([rows[caption.id] for caption in truth.captions], np.int64)
    chosen = sampling.of(len(images))
    texts = [caption.text for caption in truth.captions]
    to_images = Questions(
        "text_to_image", "caption → image", CAPTION_METRICS, [texts[number] for number in chosen], False,
        vectors[chosen], [images[number : number + 1] for number in chosen], images[chosen], [""] * len(chosen),
    )  # fmt: skip
    described = np.unique(images)
    described = described[sampling.of(described.size)]
    to_captions = Questions(
        "image_to_text", "image → captions", CAPTION_METRICS, [stored.paths[row] for row in described], True,
        np.asarray(stored.vectors[described]), [np.flatnonzero(images == row) for row in described],
        np.arange(described.size), [""] * described.size,
    )  # fmt: skip
    return [
        ask(to_images, Candidates(stored.vectors, stored.paths), sampling.seed),
        ask(to_captions, Candidates(vectors, texts, are_images=False), sampling.seed),
    ]
