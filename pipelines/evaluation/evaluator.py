"""Evaluator: the query sets of one collection, made from its ground truth, and the loss of its index."""

from __future__ import annotations

import dataclasses
import os
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..search.searcher import Searcher
from .exact import EmbeddingTable
from .ground_truth import GroundTruth
from .index_loss import IndexLoss, measure_index
from .metrics import CAPTION_METRICS, LABEL_METRICS
from .prompts import DEFAULT, EmbedTexts, embed_class, humanize, unit
from .query_set import Corpus, QuerySet, Task, evaluate_queries

_INDEX_QUERIES = 200
_TEXTS_AT_ONCE = 64

# Called with the steps done, their total and what is being done.
OnProgress = Callable[[int, int, str], object]


def no_progress(done: int, total: int, what: str) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Evaluation:
    """All figures of one collection under one model."""

    collection: str
    model: str
    images: int
    classes: int
    captions: int
    templates: int
    seconds: float
    tasks: list[Task]
    index: IndexLoss
    notes: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The model for a heading; for a model in a folder, the name of the folder without its parents."""
        return os.path.basename(self.model)

    def task(self, key: str) -> Task | None:
        """Return the task with this key, None if it was not measured."""
        return next((task for task in self.tasks if task.key == key), None)

    def as_json(self) -> dict[str, Any]:
        """Return all figures for `--json`, without the examples."""
        values = dataclasses.asdict(self)
        for task in values["tasks"]:
            del task["examples"], task["first_ranks"]
        return values


def sample(count: int, most: int, seed: int) -> np.ndarray:
    """Draw at most `most` of the numbers below `count` (0 takes all), int64, ascending."""
    if not most or count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


@dataclass(frozen=True)
class Evaluator:
    """Evaluates class names, images and captions as queries.

    Every ranking is exact over all stored vectors, so these figures are the model's; the errors that the index adds
    are measured separately (`index_loss.py`).

    truth: about the images of `table` only.
    embed_texts: n texts → float32[n, dim], of any length.
    max_queries: at most so many queries of a kind, drawn with `seed`; 0 asks all.
    """

    table: EmbeddingTable
    truth: GroundTruth
    embed_texts: EmbedTexts
    templates: tuple[str, ...] = DEFAULT
    max_queries: int = 5000
    seed: int = 0
    on_progress: OnProgress = no_progress

    def evaluate(self, searcher: Searcher) -> Evaluation:
        """Evaluate every query set the ground truth allows, then the index; without ground truth, the index only."""
        start = time.perf_counter()
        truth, notes = self.truth, list(self.truth.notes)
        tasks: list[Task] = []
        vectors: list[np.ndarray] = []
        texts: list[str] = []
        if len(truth.classes) > 1:
            task, embedded = self.class_names()
            tasks += [task, *self.same_class()]
            vectors.append(embedded)
            texts += [self.templates[0].replace("{}", humanize(name)) for name in truth.classes]
        if truth.captions:
            embedded = self.embed_captions()
            tasks += self.captions(embedded)
            vectors.append(embedded)
            texts += [caption.text for caption in truth.captions]
        if not tasks:
            vectors.append(np.asarray(self.table.vectors[self._sample(len(self.table.ids))]))
            notes.append("no labels and no captions to measure by: only the index is measured, by images as queries")
        asked = np.concatenate(vectors)
        asked = unit(asked[sample(len(asked), _INDEX_QUERIES, self.seed)])
        index = measure_index(searcher.collection, self.table, asked, texts, self.embed_texts, self.seed)
        return Evaluation(
            searcher.settings.collection, searcher.info().model, len(self.table.ids), len(truth.classes),
            len(truth.captions), len(self.templates), round(time.perf_counter() - start, 1), tasks, index, notes,
        )  # fmt: skip

    def class_names(self) -> tuple[Task, np.ndarray]:
        """Query with each class name; the images of the class are relevant. Also return the queries' vectors."""
        names = [list(self._rows_by_class)[number] for number in self._sample(len(self._rows_by_class))]
        embedded = []
        for number, name in enumerate(names, 1):
            embedded.append(embed_class(humanize(name), self.templates, self.embed_texts))
            self.on_progress(number, len(names), "class names")
        vectors = np.stack(embedded)
        queries = QuerySet(
            "labels", "class name → images", LABEL_METRICS, vectors, [humanize(name) for name in names],
            [self._rows_by_class[name] for name in names], np.arange(len(names)), names,
        )  # fmt: skip
        return evaluate_queries(queries, self._images, self.seed), vectors

    def same_class(self) -> list[Task]:
        """Query with each image, itself excluded; the others of its class are relevant. Empty if no class has two."""
        classes = {label: rows for label, rows in self._rows_by_class.items() if rows.size > 1}
        pairs = [(row, label) for label, rows in classes.items() for row in rows.tolist()]
        if not pairs:
            return []
        chosen = [pairs[number] for number in self._sample(len(pairs))]
        labels = [label for _, label in chosen]
        numbers = {label: number for number, label in enumerate(classes)}
        rows = np.array([row for row, _ in chosen], np.int64)
        queries = self._image_queries(
            "images", "image → images of its class", LABEL_METRICS, rows,
            [classes[label][classes[label] != row] for row, label in chosen],
            groups=np.array([numbers[label] for label in labels]), labels=labels, excluded=rows,
        )  # fmt: skip
        return [evaluate_queries(queries, self._images, self.seed)]

    def embed_captions(self) -> np.ndarray:
        """Return the embeddings of all captions, float32[captions, dim] of unit length."""
        texts = [caption.text for caption in self.truth.captions]
        parts = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            parts.append(unit(self.embed_texts(texts[start : start + _TEXTS_AT_ONCE])))
            self.on_progress(min(start + _TEXTS_AT_ONCE, len(texts)), len(texts), "captions")
        return np.concatenate(parts)

    def captions(self, vectors: np.ndarray) -> list[Task]:
        """Query with captions for their image, and with images for their captions.

        The protocol of Karpathy & Fei-Fei 2015 (§4.1), which the published tables follow (for CLIP: CLIP_benchmark's
        `zeroshot_retrieval.py`): every caption is a query of its own for its one image; an image has found its caption
        if any of its captions, among all captions, is in the first k.

        Args:
            vectors: the result of `embed_captions`.
        """
        texts = [caption.text for caption in self.truth.captions]
        images = np.array([self.table.row_of[caption.id] for caption in self.truth.captions], np.int64)
        chosen = self._sample(len(images))
        to_images = QuerySet(
            "text_to_image", "caption → image", CAPTION_METRICS, vectors[chosen], [texts[row] for row in chosen],
            list(images[chosen, None]), groups=images[chosen],
        )  # fmt: skip
        described = np.unique(images)
        described = described[self._sample(described.size)]
        to_captions = self._image_queries(
            "image_to_text", "image → captions", CAPTION_METRICS, described,
            [np.flatnonzero(images == row) for row in described], groups=np.arange(described.size),
        )  # fmt: skip
        return [
            evaluate_queries(to_images, self._images, self.seed),
            evaluate_queries(to_captions, Corpus(vectors, texts), self.seed),
        ]

    def _sample(self, count: int) -> np.ndarray:
        return sample(count, self.max_queries, self.seed)

    @cached_property
    def _images(self) -> Corpus:
        return Corpus(self.table.vectors, self.table.names, self.table.paths)

    @cached_property
    def _rows_by_class(self) -> dict[str, np.ndarray]:
        """Rows of the images of each class, classes sorted."""
        rows: defaultdict[str, list[int]] = defaultdict(list)
        for row, key in enumerate(self.table.ids.tolist()):
            if key in self.truth.labels:
                rows[self.truth.labels[key]].append(row)
        return {label: np.array(rows[label], np.int64) for label in sorted(rows)}

    def _image_queries(
        self, key: str, title: str, metrics: tuple[str, ...], rows: np.ndarray, relevant: list[np.ndarray],
        groups: np.ndarray, labels: list[str] | None = None, excluded: np.ndarray | None = None,
    ) -> QuerySet:  # fmt: skip
        """Return a query set whose queries are images: these rows of the table."""
        return QuerySet(
            key, title, metrics, np.asarray(self.table.vectors[rows]), [self._images.names[row] for row in rows],
            relevant, groups, labels or (), [self.table.paths[row] for row in rows], excluded,
        )  # fmt: skip
