"""Evaluate one collection: query sets made from its ground truth, and the loss of its index."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..search.searcher import Searcher
from .exact import EmbeddingTable
from .ground_truth import GroundTruth
from .index_loss import IndexLoss, measure_index
from .metrics import CAPTION_METRICS, LABEL_METRICS, sample
from .prompts import DEFAULT, EmbedTexts, embed_class, humanize, unit
from .query_set import Corpus, QuerySet, Task, evaluate_queries

_INDEX_QUERIES = 200
_TEXTS_AT_ONCE = 64

# Called with the number of steps done, their total and a caption.
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
    language: str = ""
    text_model: str = ""

    @property
    def title(self) -> str:
        """The model, text model and language for a heading; for a model in a folder, the name of that folder."""
        parts = [os.path.basename(self.model), f"by {self.text_model}" * bool(self.text_model)]
        return " ".join(filter(None, [*parts, f"in {self.language}" * bool(self.language)]))

    def task(self, key: str) -> Task | None:
        """Return the task with this key, None if it was not measured."""
        return next((task for task in self.tasks if task.key == key), None)

    def as_json(self) -> dict[str, Any]:
        """Return all figures for `--json`, without the examples."""
        values = asdict(self)
        for task in values["tasks"]:
            del task["examples"], task["first_ranks"]
        return values


@dataclass(frozen=True)
class Evaluator:
    """Evaluates class names, images and captions as queries.

    Every ranking is exact over all stored vectors, so these figures measure the model. The errors that the index adds
    are measured separately (`index_loss.py`).

    truth: the ground truth, of the images of `table` only.
    embed_texts: n texts → float32[n, dim], not necessarily of unit length.
    max_queries: maximum number of queries of each kind, drawn with `seed`; 0 runs all.
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
        query_sets: list[tuple[QuerySet, Corpus]] = []
        vectors: list[np.ndarray] = []
        texts: list[str] = []
        if len(truth.classes) > 1:
            names = self.class_names()
            query_sets += [(names, self.images), *((images, self.images) for images in self.same_class())]
            vectors.append(names.vectors)
            texts += [self.templates[0].replace("{}", humanize(name)) for name in truth.classes]
        if truth.captions:
            captions = self.captions()
            query_sets += [(self.captions_to_images(captions), self.images), (self.images_to_captions(), captions)]
            vectors.append(captions.vectors)
            texts += captions.names
        if not query_sets:
            vectors.append(np.asarray(self.table.vectors[self._sample(len(self.table.ids))]))
            notes.append("no labels and no captions to measure by: only the index is measured, by images as queries")
        tasks = [evaluate_queries(queries, corpus, self.seed) for queries, corpus in query_sets]
        asked = np.concatenate(vectors)
        asked = unit(asked[sample(len(asked), _INDEX_QUERIES, self.seed)])
        index = measure_index(searcher.collection, self.table, asked, texts, self.embed_texts, self.seed)
        return Evaluation(
            searcher.settings.collection, searcher.info().model, len(self.table.ids), len(truth.classes),
            len(truth.captions), len(self.templates), round(time.perf_counter() - start, 1), tasks, index, notes,
        )  # fmt: skip

    def class_names(self) -> QuerySet:
        """Return each class name as a query; the images of the class are relevant."""
        names = [list(self._rows_by_class)[number] for number in self._sample(len(self._rows_by_class))]
        embedded = []
        for number, name in enumerate(names, 1):
            embedded.append(embed_class(humanize(name), self.templates, self.embed_texts))
            self.on_progress(number, len(names), "class names")
        return QuerySet(
            "labels", "class name → images", LABEL_METRICS, np.stack(embedded), [humanize(name) for name in names],
            [self._rows_by_class[name] for name in names], np.arange(len(names)), names,
        )  # fmt: skip

    def same_class(self) -> list[QuerySet]:
        """Return each image as a query, itself excluded; the others of its class are relevant. May be empty."""
        classes = {label: rows for label, rows in self._rows_by_class.items() if rows.size > 1}
        pairs = [(row, label) for label, rows in classes.items() for row in rows.tolist()]
        if not pairs:
            return []
        chosen = [pairs[number] for number in self._sample(len(pairs))]
        rows, labels = np.array([row for row, _ in chosen], np.int64), [label for _, label in chosen]
        relevant = [classes[label][classes[label] != row] for row, label in chosen]
        groups = np.unique(labels, return_inverse=True)[1]
        queries = self._image_queries("images", "image → images of its class", LABEL_METRICS, rows, relevant, groups)
        return [replace(queries, labels=labels, excluded=rows)]

    def captions(self) -> Corpus:
        """Return all captions with their embeddings."""
        texts = [caption.text for caption in self.truth.captions]
        parts = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            parts.append(unit(self.embed_texts(texts[start : start + _TEXTS_AT_ONCE])))
            self.on_progress(min(start + _TEXTS_AT_ONCE, len(texts)), len(texts), "captions")
        return Corpus(np.concatenate(parts), texts)

    def captions_to_images(self, captions: Corpus) -> QuerySet:
        """Return each caption as a query; the image that it describes is relevant.

        The protocol of Karpathy & Fei-Fei 2015 (§4.1), which the published tables follow (for CLIP: CLIP_benchmark's
        `zeroshot_retrieval.py`). In the other direction an image succeeds if any of its captions is among the first k
        of all captions.
        """
        chosen = self._sample(len(self._described))
        images = self._described[chosen]
        return QuerySet(
            "text_to_image", "caption → image", CAPTION_METRICS, captions.vectors[chosen],
            [captions.names[row] for row in chosen], list(images[:, None]), groups=images,
        )  # fmt: skip

    def images_to_captions(self) -> QuerySet:
        """Return each image that has captions as a query; its captions are relevant."""
        rows = np.unique(self._described)
        rows = rows[self._sample(rows.size)]
        relevant = [np.flatnonzero(self._described == row) for row in rows]
        groups = np.arange(rows.size)
        return self._image_queries("image_to_text", "image → captions", CAPTION_METRICS, rows, relevant, groups)

    def _sample(self, count: int) -> np.ndarray:
        return sample(count, self.max_queries, self.seed)

    @cached_property
    def images(self) -> Corpus:
        """All images of the table."""
        return Corpus(self.table.vectors, self.table.names, self.table.paths)

    @cached_property
    def _described(self) -> np.ndarray:
        """The row of the image of each caption."""
        return np.array([self.table.row_of[caption.id] for caption in self.truth.captions], np.int64)

    @cached_property
    def _rows_by_class(self) -> dict[str, np.ndarray]:
        """The rows of the images of each class, sorted by class."""
        rows: defaultdict[str, list[int]] = defaultdict(list)
        for row, key in enumerate(self.table.ids.tolist()):
            if key in self.truth.labels:
                rows[self.truth.labels[key]].append(row)
        return {label: np.array(rows[label], np.int64) for label in sorted(rows)}

    def _image_queries(
        self, key: str, title: str, metrics: tuple[str, ...], rows: np.ndarray, relevant: list[np.ndarray],
        groups: np.ndarray,
    ) -> QuerySet:  # fmt: skip
        names, paths = [self.images.names[row] for row in rows], [self.table.paths[row] for row in rows]
        return QuerySet(key, title, metrics, np.asarray(self.table.vectors[rows]), names, relevant, groups, (), paths)
