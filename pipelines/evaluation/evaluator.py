"""Measuring one collection: its labels, its captions, its index."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..models.clip import model_of
from ..search.searcher import Searcher
from .ground_truth import Truth
from .index_loss import measure_index
from .prompts import EmbedTexts, read_templates, spoken, unit
from .results import Evaluation, Task
from .stored import Stored
from .tasks import Sampling, caption_tasks, class_names, embed_captions, same_class

_INDEX_QUERIES = 200

# Told what is being done and of how many; returns what is to be told of each step.
Progress = Callable[[str, int], Callable[[int], object]]


@dataclass
class _Measured:
    """The tasks done so far; and the vectors and texts that were asked, with which the index is measured."""

    tasks: list[Task] = field(default_factory=list)
    vectors: list[np.ndarray] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


class Measuring:
    """Measures collections in one way: with these templates and as many queries of a kind."""

    def __init__(self, templates: str, queries: int, seed: int, progress: Progress) -> None:
        self._templates = read_templates(templates)
        self._sampling = Sampling(queries, seed)
        self._progress = progress

    def measure(self, searcher: Searcher, stored: Stored, truth: Truth) -> Evaluation:
        """Everything that can be measured by this truth; without any, only the index is, by images as queries.

        Raises:
            ModelError: the collection's model cannot be had.
        """
        start = time.perf_counter()
        embed = model_of(searcher.settings).embed_texts
        truth = truth.about(stored.ids)
        classes, notes = truth.classes(), list(truth.notes)
        done = _Measured()
        if len(classes) > 1:
            self._by_labels(stored, truth, embed, done)
        if truth.captions:
            self._by_captions(stored, truth, embed, done)
        if not done.tasks:
            done.vectors.append(np.asarray(stored.vectors[self._sampling.of(len(stored.ids))]))
            notes.append("no labels and no captions to measure by: only the index is measured, by images as queries")
        asked = np.concatenate(done.vectors)
        asked = unit(asked[Sampling(_INDEX_QUERIES, self._sampling.seed).of(len(asked))])
        index = measure_index(searcher.collection, stored, asked, done.texts, embed, self._sampling.seed)
        return Evaluation(
            searcher.settings.collection, searcher.info().model, len(stored.ids), len(classes), len(truth.captions),
            len(self._templates), round(time.perf_counter() - start, 1), done.tasks, index, notes,
        )  # fmt: skip

    def _by_labels(self, stored: Stored, truth: Truth, embed: EmbedTexts, done: _Measured) -> None:
        classes = truth.classes()
        advance = self._progress("class names", len(classes))
        task, vectors = class_names(stored, truth, self._templates, embed, self._sampling, advance)
        same = same_class(stored, truth, self._sampling)
        done.tasks += [task, same] if same else [task]
        done.vectors.append(vectors)
        done.texts += [self._templates[0].replace("{}", spoken(name)) for name in classes]

    def _by_captions(self, stored: Stored, truth: Truth, embed: EmbedTexts, done: _Measured) -> None:
        vectors = embed_captions(truth, embed, self._progress("captions", len(truth.captions)))
        done.tasks += caption_tasks(stored, truth, vectors, self._sampling)
        done.vectors.append(vectors)
        done.texts += [caption.text for caption in truth.captions]
