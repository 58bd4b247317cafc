"""Retrieval metrics, each computed from the ranks of one query's relevant answers.

A query's `ranks` are the ranks of its right answers in the whole ranking, ascending from 1: int64[R], R ≥ 1. Every
metric is a mean over queries of one number in 0..1, so its interval is a bootstrap over queries.

Among equal scores, wrong answers come before right ones (see `exact.py`). The figures are therefore the same in every
run and for every order of the rows, and a model that gives all images the same score gets the worst rank, not a lucky
one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Ranks = np.ndarray

RESAMPLES = 2000
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over queries and its bootstrap 95 % interval."""

    value: float
    low: float
    high: float


def recall_at(k: int, ranks: Ranks) -> float:
    """1 if a right answer is among the first k, else 0.

    This is "recall@k" in the image-text retrieval tables (Karpathy & Fei-Fei 2015; Radford et al. 2021) and in metric
    learning (Oh Song et al. 2016); elsewhere it is called hit rate or success@k. It is not the share of *all* right
    answers, which could not exceed 0.01 for a class of 100 images at k = 1.
    """
    return float(ranks[0] <= k)


def precision_at(k: int, ranks: Ranks) -> float:
    """Share of right answers among the first k (Manning, Raghavan & Schütze 2008, §8.4).

    The divisor is k even if fewer than k right answers exist.
    """
    return int(np.searchsorted(ranks, k, "right")) / k


def average_precision_at(k: int, ranks: Ranks) -> float:
    """Σ over right answers at rank r ≤ k of precision@r, divided by min(k, R).

    A perfect ranking thus gives 1 for every number R of right answers, as in the mAP@100 of Google Landmarks v2 (Weyand
    et al. 2020). With k = number of candidates it is the classical average precision (Manning et al. 2008, §8.4).
    """
    within = ranks[ranks <= k]
    return float((np.arange(1, within.size + 1) / within).sum() / min(k, ranks.size))


def reciprocal_rank(ranks: Ranks) -> float:
    """1 / rank of the first right answer, in the whole ranking (Voorhees 1999, TREC-8); its mean is the MRR."""
    return 1 / int(ranks[0])


def r_precision(ranks: Ranks) -> float:
    """Share of right answers among the first R, R being how many there are (Manning, Raghavan & Schütze 2008, §8.4)."""
    return int(np.searchsorted(ranks, ranks.size, "right")) / ranks.size


METRICS: dict[str, Callable[[Ranks], float]] = {
    "recall@1": lambda ranks: recall_at(1, ranks),
    "recall@5": lambda ranks: recall_at(5, ranks),
    "recall@10": lambda ranks: recall_at(10, ranks),
    "precision@10": lambda ranks: precision_at(10, ranks),
    "mAP@10": lambda ranks: average_precision_at(10, ranks),
    "MRR": reciprocal_rank,
    "R-precision": r_precision,
}
LABEL_METRICS = ("recall@1", "recall@5", "recall@10", "precision@10", "mAP@10", "MRR")
CAPTION_METRICS = ("recall@1", "recall@5", "recall@10", "R-precision", "MRR")


def per_query(name: str, rankings: Sequence[Ranks]) -> np.ndarray:
    """The value of a metric for each query: float64[n]."""
    return np.array([METRICS[name](ranks) for ranks in rankings], np.float64)


def estimate(values: np.ndarray, groups: np.ndarray | None = None, seed: int = 0) -> Estimate:
    """The mean of float64[n] and its percentile bootstrap interval (Efron & Tibshirani 1993, §13.3).

    Args:
        groups: int64[n]; queries of one group (the captions of one image, the images of one class) are drawn
            together, because they succeed and fail together. Drawn separately, they would seem to be more evidence
            than they are (cluster bootstrap, Davison & Hinkley 1997, §3.8).
        seed: the same seed gives the same interval.
    """
    if not values.size:
        raise ValueError("no values to take the mean of")
    if groups is None:
        groups = np.arange(values.size)
    _, groups = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(groups, values), np.bincount(groups)
    random = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        drawn = random.integers(0, sums.size, sums.size)
        means[number] = sums[drawn].sum() / sizes[drawn].sum()
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(float(values.mean()), float(low), float(high))


def sample(count: int, most: int, seed: int) -> np.ndarray:
    """Draw at most `most` of the numbers below `count` (0 draws all): int64, ascending."""
    if not most or count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
