"""The ways of asking: class names → pictures, captions ↔ pictures, a picture → pictures of its class.

Every ranking is an exact one over all stored vectors, so that these figures are the model's; what the index adds to
the errors is measured apart (`index_loss.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .exact import ranks_of, top
from .metrics import CAPTION_METRICS, LABEL_METRICS, average_precision_at, estimate, per_query
from .prompts import EmbedTexts, embed_class, spoken, unit
from .results import Answer, Example, Task
from .stored import Advance, Stored
from .truth import Truth

_EXAMPLES = 6  # best, and as many worst
_HITS_SHOWN = 8
_TEXTS_AT_ONCE = 64


@dataclass(frozen=True)
class Questions:
    """Queries of one kind and what is right for each; `names` are words, or paths where a query is a picture."""

    names: Sequence[str]
    vectors: np.ndarray
    right: Sequence[np.ndarray]
    groups: np.ndarray
    labels: Sequence[str]
    own_rows: np.ndarray | None = None  # of the candidates, where a query is one of them


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
    """The rows of each class's pictures, classes sorted."""
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, key in enumerate(stored.ids.tolist()):
        if key in truth.labels:
            rows[truth.labels[key]].append(row)
    return {label: np.array(rows[label], np.int64) for label in sorted(rows)}


def class_names(
    stored: Stored, truth: Truth, templates: Sequence[str], embed: EmbedTexts, sampling: Sampling, advance: Advance
) -> tuple[Task, np.ndarray]:
    """Each class name is a query, its pictures are right. Also returns the queries' vectors."""
    classes = rows_by_class(stored, truth)
    names = [list(classes)[number] for number in sampling.of(len(classes))]
    vectors = []
    for name in names:
        vectors.append(embed_class(spoken(name), templates, embed))
        advance(1)
    questions = Questions(
        [spoken(name) for name in names], np.stack(vectors), [classes[name] for name in names],
        np.arange(len(names)), names,
    )  # fmt: skip
    title = "class name → pictures"
    return _measure("labels", title, questions, stored.vectors, stored.paths, LABEL_METRICS, sampling), np.stack(
        vectors
    )


def same_class(stored: Stored, truth: Truth, sampling: Sampling) -> Task | None:
    """Each picture is a query and left out of the candidates; the others of its class are right. None without such."""
    classes = {label: rows for label, rows in rows_by_class(stored, truth).items() if rows.size > 1}
    pairs = [(row, label) for label, rows in classes.items() for row in rows.tolist()]
    if not pairs:
        return None
    chosen = [pairs[number] for number in sampling.of(len(pairs))]
    numbers = {label: number for number, label in enumerate(classes)}
    rows = np.array([row for row, _ in chosen], np.int64)
    questions = Questions(
        [stored.paths[row] for row in rows], np.asarray(stored.vectors[rows]),
        [classes[label][classes[label] != row] for row, label in chosen],
        np.array([numbers[label] for _, label in chosen]), [label for _, label in chosen], rows,
    )  # fmt: skip
    return _measure(
        "pictures", "picture → pictures of its class", questions, stored.vectors, stored.paths, LABEL_METRICS, sampling
    )


def embed_captions(truth: Truth, embed: EmbedTexts, advance: Advance) -> np.ndarray:
    """float32[captions, dim], unit length."""
    parts = []
    for start in range(0, len(truth.captions), _TEXTS_AT_ONCE):
        texts = [caption.text for caption in truth.captions[start : start + _TEXTS_AT_ONCE]]
        parts.append(unit(embed(texts)))
        advance(len(texts))
    return np.concatenate(parts)


def caption_tasks(stored: Stored, truth: Truth, vectors: np.ndarray, sampling: Sampling) -> list[Task]:
    """Captions → pictures, and pictures → captions.

    The protocol of Karpathy & Fei-Fei 2015 (§4.1), which the published tables follow (for CLIP: CLIP_benchmark's
    `zeroshot_retrieval.py`): every caption is a query of its own for its one picture; a picture has found its caption
    when any of its captions, of all the captions, is among the first k.
    """
    rows = stored.rows_by_id()
    pictures = np.array([rows[caption.id] for caption in truth.captions], np.int64)
    chosen = sampling.of(len(pictures))
    texts = [caption.text for caption in truth.captions]
    to_pictures = Questions(
        [texts[number] for number in chosen], vectors[chosen], [pictures[number : number + 1] for number in chosen],
        pictures[chosen], [""] * len(chosen),
    )  # fmt: skip
    described = np.unique(pictures)
    described = described[sampling.of(described.size)]
    to_captions = Questions(
        [stored.paths[row] for row in described], np.asarray(stored.vectors[described]),
        [np.flatnonzero(pictures == row) for row in described], np.arange(described.size), [""] * described.size,
    )  # fmt: skip
    return [
        _measure(
            "text_to_image", "caption → picture", to_pictures, stored.vectors, stored.paths, CAPTION_METRICS, sampling
        ),
        _measure(
            "image_to_text", "picture → captions", to_captions, vectors, texts, CAPTION_METRICS, sampling,
            answers_are_pictures=False,
        ),
    ]  # fmt: skip


def _measure(
    key: str, title: str, questions: Questions, candidates: np.ndarray, names: Sequence[str],
    metrics: Sequence[str], sampling: Sampling, answers_are_pictures: bool = True,
) -> Task:  # fmt: skip
    rankings = ranks_of(questions.vectors, candidates, questions.right, questions.own_rows)
    figures = {
        name: estimate(per_query(name, rankings), questions.groups, sampling.seed) for name in metrics
    }  # fmt: skip
    precisions = np.array([average_precision_at(10, ranks) for ranks in rankings])
    by_class: defaultdict[str, list[float]] = defaultdict(list)
    for label, precision in zip(questions.labels, precisions, strict=True):
        by_class[label].append(float(precision))
    groups = {label: float(np.mean(values)) for label, values in by_class.items() if label}
    first = [int(ranks[0]) for ranks in rankings]
    best, worst = _extremes(precisions, np.array(first), sampling.seed)
    query_is_picture = key in ("pictures", "image_to_text")
    shown = np.concatenate([best, worst])
    left_out = None if questions.own_rows is None else questions.own_rows[shown]
    rows, scores = top(questions.vectors[shown], candidates, _HITS_SHOWN, left_out)
    examples = []
    for number, (query, hits, values) in enumerate(zip(shown.tolist(), rows, scores, strict=True)):
        right = set(questions.right[query].tolist())
        answers = [
            Answer(names[row], answers_are_pictures, row in right, float(score))
            for row, score in zip(hits.tolist(), values, strict=True)
        ]
        kind = "best" if number < best.size else "worst"
        examples.append(
            Example(
                kind, questions.names[query], query_is_picture, questions.labels[query], first[query],
                float(precisions[query]), answers,
            )
        )  # fmt: skip
    total = len(candidates) - (questions.own_rows is not None)
    return Task(key, title, len(rankings), total, figures, groups, first, examples)


def _extremes(precisions: np.ndarray, first: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The best queries, best first, and the worst, worst first; among equals, some of them."""
    lots = np.random.default_rng(seed).permutation(first.size)
    order = np.lexsort((lots, first, -precisions))
    best = order[: min(_EXAMPLES, (order.size + 1) // 2)]
    return best, order[best.size :][::-1][:_EXAMPLES]
