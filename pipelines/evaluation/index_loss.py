"""Is it the index? The approximate search, as the collection is configured, against exact search on its vectors."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..milvus.collection import Collection
from .exact import DECIMALS, scores_of, top
from .metrics import estimate
from .prompts import EmbedTexts
from .results import IndexLoss
from .stored import Stored

K = 10
_EMBEDDED = 50


def measure_index(
    collection: Collection, stored: Stored, queries: np.ndarray, texts: Sequence[str], embed: EmbedTexts, seed: int
) -> IndexLoss:
    """Searches with each query alone, as a user does.

    A hit counts as found when its exact score reaches that of the k-th exact hit: of equally near images either is
    right (the distance criterion of ann-benchmarks, Aumüller, Bernhardsson & Faithfull 2020).

    Args:
        queries: float32[q, dim], unit length.
        texts: for the latency of the embedding; the first 50 are embedded one by one.
    """
    rows_of = stored.rows_by_id()
    exact_rows, exact_scores = top(queries, stored.vectors, K)
    wanted = exact_rows.shape[1]
    collection.search(queries[:1], wanted)  # the first call opens and loads
    found, seconds = [], []
    for number, query in enumerate(queries):
        elapsed, hits = _timed(collection.search, query[None], wanted)
        rows = [rows_of[hit[0]] for hit in hits[0] if hit[0] in rows_of]
        scores = scores_of(query[None], stored.vectors[rows])[0]
        found.append(np.count_nonzero(scores >= exact_scores[number, -1] - 10.0**-DECIMALS) / wanted)
        seconds.append(elapsed)
    embedding = None
    if texts:
        embed(texts[:1])
        embedding = _percentiles([_timed(embed, [text])[0] for text in texts[:_EMBEDDED]])
    p50, p95 = _percentiles(seconds)
    return IndexLoss(
        str(collection.index), wanted, len(queries), estimate(np.array(found), seed=seed), p50, p95,
        *(embedding or (None, None)),
    )  # fmt: skip


def _timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def _percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    """p50 and p95 in milliseconds."""
    p50, p95 = np.percentile(seconds, [50, 95]) * 1000
    return float(p50), float(p95)
