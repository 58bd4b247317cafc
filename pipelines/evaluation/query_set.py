"""Query sets: queries of one kind, their exact rankings and figures, and examples of the best and worst queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .exact import ranks_of, top_k
from .metrics import Estimate, average_precision_at, estimate, per_query

_EXAMPLES = 6  # maximum number of best queries, and of worst queries
_HITS_SHOWN = 8


@dataclass(frozen=True)
class Corpus:
    """The candidates of a search.

    vectors: float32[n, dim] of unit length.
    names: what a report shows for each candidate: the name of an image, or a caption.
    paths: where each image is read from; empty if the candidates are captions.
    """

    vectors: np.ndarray
    names: Sequence[str]
    paths: Sequence[str] = ()


@dataclass(frozen=True)
class QuerySet:
    """Queries of one kind, and the candidates that are relevant to each.

    vectors: float32[q, dim] of unit length.
    names: what a report shows for each query: a text, or the name of an image.
    paths: where each image is read from; empty if the queries are texts.
    relevant: for each query the rows of its relevant candidates, at least one.
    groups: int64[q], queries that succeed and fail together, see `metrics.estimate`.
    labels: the class of each query; empty if there are no classes.
    excluded: int64[q], the query's own row in the corpus, which is not a candidate; None if queries have no row there.
    """

    key: str
    title: str
    metrics: Sequence[str]
    vectors: np.ndarray
    names: Sequence[str]
    relevant: Sequence[np.ndarray]
    groups: np.ndarray
    labels: Sequence[str] = ()
    paths: Sequence[str] = ()
    excluded: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One hit of an example: the name and path of an image, or a caption with the path ''."""

    name: str
    path: str
    relevant: bool
    score: float


@dataclass(frozen=True, slots=True)
class Example:
    """A query that went well or badly, with its first hits. `first_rank` is the rank of the first relevant one."""

    kind: str  # "best" or "worst"
    name: str
    path: str
    label: str
    first_rank: int
    average_precision: float
    answers: list[Answer]


@dataclass(frozen=True)
class Task:
    """A query set, evaluated. `groups` holds the mAP@10 of each class; it is empty if there are no classes."""

    key: str
    title: str
    queries: int
    candidates: int
    figures: dict[str, Estimate]
    groups: dict[str, float]
    first_ranks: list[int]
    examples: list[Example]


def evaluate_queries(queries: QuerySet, corpus: Corpus, seed: int) -> Task:
    """Rank the corpus for each query; `seed` draws the intervals and the examples among equal queries."""
    ranks = ranks_of(queries.vectors, corpus.vectors, queries.relevant, queries.excluded)
    figures = {name: estimate(per_query(name, ranks), queries.groups, seed) for name in queries.metrics}
    precisions = np.array([average_precision_at(10, own) for own in ranks])
    first = np.array([own[0] for own in ranks])
    candidates = len(corpus.vectors) - (queries.excluded is not None)
    return Task(
        queries.key, queries.title, len(ranks), candidates, figures, _mean_by_class(queries.labels, precisions),
        first.tolist(), _examples(queries, corpus, precisions, first, seed),
    )  # fmt: skip


def _mean_by_class(labels: Sequence[str], precisions: np.ndarray) -> dict[str, float]:
    found: defaultdict[str, list[float]] = defaultdict(list)
    for label, value in zip(labels, precisions.tolist(), strict=False):
        found[label].append(value)
    return {label: float(np.mean(values)) for label, values in found.items()}


def _examples(queries: QuerySet, corpus: Corpus, precisions: np.ndarray, first: np.ndarray, seed: int) -> list[Example]:
    """Return the best queries, best first, then the worst, worst first; equal ones are drawn at random."""
    lots = np.random.default_rng(seed).permutation(first.size)
    order = np.lexsort((lots, first, -precisions))
    best = order[: min(_EXAMPLES, (order.size + 1) // 2)]
    shown = np.concatenate([best, order[best.size :][::-1][:_EXAMPLES]])
    excluded = None if queries.excluded is None else queries.excluded[shown]
    rows, scores = top_k(queries.vectors[shown], corpus.vectors, _HITS_SHOWN, excluded)
    return [
        Example(
            kind="best" if place < best.size else "worst",
            name=queries.names[query],
            path=queries.paths[query] if queries.paths else "",
            label=queries.labels[query] if queries.labels else "",
            first_rank=int(first[query]),
            average_precision=float(precisions[query]),
            answers=_answers(corpus, queries.relevant[query], rows[place], scores[place]),
        )
        for place, query in enumerate(shown.tolist())
    ]


def _answers(corpus: Corpus, relevant: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> list[Answer]:
    return [
        Answer(corpus.names[row], corpus.paths[row] if corpus.paths else "", bool(np.isin(row, relevant)), float(score))
        for row, score in zip(rows.tolist(), scores, strict=True)
    ]
