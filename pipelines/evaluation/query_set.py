"""Asking all queries of one kind: exact rankings, their figures, and the queries that went best and worst."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .exact import ranks_of, top
from .metrics import average_precision_at, estimate, per_query
from .results import Answer, Example, Task

_EXAMPLES = 6  # best, and as many worst
_HITS_SHOWN = 8


@dataclass(frozen=True)
class Candidates:
    """What is ranked: float32[n, dim] of unit length and the name of each, an image's path or a caption."""

    vectors: np.ndarray
    names: Sequence[str]
    are_images: bool = True


@dataclass(frozen=True)
class Questions:
    """Queries of one kind, and what is right for each.

    names: words, or paths where a query is an image (`are_images`).
    vectors: float32[q, dim] of unit length.
    right: for each query the rows of its right candidates, at least one.
    groups: int64[q], queries that succeed and fail together, see `metrics.estimate`.
    labels: the class of each query, '' where there are no classes.
    own_rows: int64[q], the query's own row where it is one of the candidates: it is left out.
    """

    key: str
    title: str
    metrics: Sequence[str]
    names: Sequence[str]
    are_images: bool
    vectors: np.ndarray
    right: Sequence[np.ndarray]
    groups: np.ndarray
    labels: Sequence[str]
    own_rows: np.ndarray | None = None


def ask(questions: Questions, candidates: Candidates, seed: int) -> Task:
    """The figures of these queries; `seed` draws the intervals and, among equals, the examples."""
    rankings = ranks_of(questions.vectors, candidates.vectors, questions.right, questions.own_rows)
    figures = {name: estimate(per_query(name, rankings), questions.groups, seed) for name in questions.metrics}
    precisions = np.array([average_precision_at(10, ranks) for ranks in rankings])
    first = np.array([ranks[0] for ranks in rankings])
    total = len(candidates.vectors) - (questions.own_rows is not None)
    return Task(
        questions.key, questions.title, len(rankings), total, figures, _by_class(questions.labels, precisions),
        first.tolist(), _examples(questions, candidates, precisions, first, seed),
    )  # fmt: skip


def _by_class(labels: Sequence[str], values: np.ndarray) -> dict[str, float]:
    """The mean of each class."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for label, value in zip(labels, values.tolist(), strict=True):
        found[label].append(value)
    return {label: float(np.mean(values)) for label, values in found.items() if label}


def _examples(
    questions: Questions, candidates: Candidates, precisions: np.ndarray, first: np.ndarray, seed: int
) -> list[Example]:
    best, worst = _extremes(precisions, first, seed)
    shown = np.concatenate([best, worst])
    left_out = None if questions.own_rows is None else questions.own_rows[shown]
    rows, scores = top(questions.vectors[shown], candidates.vectors, _HITS_SHOWN, left_out)
    return [
        Example(
            "best" if place < best.size else "worst", questions.names[query], questions.are_images,
            questions.labels[query], int(first[query]), float(precisions[query]),
            _answers(candidates, questions.right[query], rows[place], scores[place]),
        )
        for place, query in enumerate(shown.tolist())
    ]  # fmt: skip


def _answers(candidates: Candidates, right: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> list[Answer]:
    wanted = set(right.tolist())
    return [
        Answer(candidates.names[row], candidates.are_images, row in wanted, float(score))
        for row, score in zip(rows.tolist(), scores, strict=True)
    ]


def _extremes(precisions: np.ndarray, first: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The best queries, best first, and the worst, worst first; among equals, some of them."""
    lots = np.random.default_rng(seed).permutation(first.size)
    order = np.lexsort((lots, first, -precisions))
    best = order[: min(_EXAMPLES, (order.size + 1) // 2)]
    return best, order[best.size :][::-1][:_EXAMPLES]
