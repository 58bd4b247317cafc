"""What the index loses: approximate search, as the collection is configured, against exact search over its vectors."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..milvus.collection import Collection
from .exact import DECIMALS, EmbeddingTable, scores_of, top_k
from .metrics import Estimate, estimate
from .prompts import EmbedTexts

K = 10
_MAX_EMBEDDED = 50


@dataclass(frozen=True)
class IndexLoss:
    """What the index loses, and how long a query takes.

    recall: mean over queries of the share of the exact first `k` hits that the index found.
    search_p50_ms, search_p95_ms: milliseconds of one search, one query at a time.
    embed_p50_ms, embed_p95_ms: milliseconds of embedding one text; None if no text was embedded.
    """

    index: str
    k: int
    queries: int
    recall: Estimate
    search_p50_ms: float
    search_p95_ms: float
    embed_p50_ms: float | None = None
    embed_p95_ms: float | None = None


def measure_index(
    collection: Collection, table: EmbeddingTable, queries: np.ndarray, texts: Sequence[str], embed: EmbedTexts,
    seed: int,
) -> IndexLoss:  # fmt: skip
    """Search with each query alone, as a user does.

    A hit counts as found if its exact score reaches that of the k-th exact hit: of equally near images either is
    relevant (the distance criterion of ann-benchmarks, Aumüller, Bernhardsson & Faithfull 2020).

    Args:
        queries: float32[q, dim], unit length.
        texts: the first 50 are embedded one by one to measure the latency.
        seed: draws the interval.
    """
    _, exact_scores = top_k(queries, table.vectors, K)
    k = exact_scores.shape[1]
    collection.search(queries[:1], k)  # the first call opens and loads the collection
    found, seconds = [], []
    for query, exact in zip(queries, exact_scores, strict=True):
        elapsed, hits = _timed(collection.search, query[None], k)
        rows = [table.row_of[hit[0]] for hit in hits[0] if hit[0] in table.row_of]
        scores = scores_of(query[None], table.vectors[rows])[0]
        found.append(np.count_nonzero(scores >= exact[-1] - 10.0**-DECIMALS) / k)
        seconds.append(elapsed)
    latencies = _percentiles(seconds)
    if texts:
        embed(texts[:1])
        latencies += _percentiles([_timed(embed, [text])[0] for text in texts[:_MAX_EMBEDDED]])
    return IndexLoss(str(collection.index), k, len(queries), estimate(np.array(found), seed=seed), *latencies)


def _timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def _percentiles(seconds: Sequence[float]) -> tuple[float, ...]:
    """Return p50 and p95 in milliseconds."""
    return tuple((np.percentile(seconds, [50, 95]) * 1000).tolist())
