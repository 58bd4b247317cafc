"""The loss of the index: search as the collection is configured, compared with exact search over its vectors."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..fields import ID
from ..milvus.collection import Collection
from ..query import Part, Query
from ..search.paging import APPROXIMATE_FIRST, collect_page
from .exact import DECIMALS, EmbeddingTable, scores_of, top_k
from .metrics import Estimate, estimate, sample
from .prompts import EmbedTexts

K = 10
# Hits of a deep search, maximum number of rows that match the filter, and number and size of the pages of a paged one.
DEEP, FILTERED, PAGES, PAGE = 1_000, 1_000, 5, 24
_MAX_EMBEDDED = 50
_MAX_REACHING = 50  # queries of the deep, the filtered and the paged searches


@dataclass(frozen=True)
class IndexLoss:
    """What the index loses, and how long a query takes.

    recall: mean over queries of the share of the exact first `k` hits that the index finds.
    deep: the same for the first 1,000 hits.
    filtered: the same for the first `k` hits, with a filter that a tenth of the rows match, 1,000 at most.
    paged: the same for the first 120 hits, page by page; a repeated hit counts once.
    search_p50_ms, search_p95_ms: milliseconds of one search, one query at a time.
    embed_p50_ms, embed_p95_ms: milliseconds of embedding one text; None if no text was embedded.
    """

    index: str
    k: int
    queries: int
    recall: Estimate
    deep: Estimate
    filtered: Estimate
    paged: Estimate
    search_p50_ms: float
    search_p95_ms: float
    embed_p50_ms: float | None = None
    embed_p95_ms: float | None = None


def measure_index(
    collection: Collection, table: EmbeddingTable, queries: np.ndarray, texts: Sequence[str], embed: EmbedTexts,
    seed: int,
) -> IndexLoss:  # fmt: skip
    """Search with each query alone, as a user does.

    A hit counts as found if its exact score reaches that of the k-th exact hit, so that any of several equally near
    images is relevant (the distance criterion of ann-benchmarks, Aumüller, Bernhardsson & Faithfull 2020).

    Args:
        queries: float32[q, dim], unit length.
        texts: the first 50 are embedded one by one to measure the latency.
        seed: draws the intervals, the queries of deep, filtered and paged searches, and the rows of the filter.
    """
    k = min(K, len(table.ids))
    collection.search(queries[:1], k)  # the first call opens and loads the collection
    found, seconds = [], []
    for query, exact in zip(queries, top_k(queries, table.vectors, k)[1], strict=True):
        elapsed, hits = _timed(collection.search, query[None], k)
        found.append(_share_found(table, query, hits[0], exact))
        seconds.append(elapsed)
    latencies = _percentiles(seconds)
    if texts:
        embed(texts[:1])
        latencies += _percentiles([_timed(embed, [text])[0] for text in texts[:_MAX_EMBEDDED]])
    few = queries[sample(len(queries), _MAX_REACHING, seed)]
    reaches = _deep(collection, table, few), _filtered(collection, table, few, k, seed), _paged(collection, table, few)
    recall, deep, filtered, paged = (estimate(np.array(shares), seed=seed) for shares in (found, *reaches))
    return IndexLoss(str(collection.index), k, len(queries), recall, deep, filtered, paged, *latencies)


def _deep(collection: Collection, table: EmbeddingTable, queries: np.ndarray) -> list[float]:
    k = min(DEEP, len(table.ids))
    exact = top_k(queries, table.vectors, k)[1]
    hits = [collection.search(query[None], k)[0] for query in queries]
    return [_share_found(table, *each) for each in zip(queries, hits, exact, strict=True)]


def _filtered(collection: Collection, table: EmbeddingTable, queries: np.ndarray, k: int, seed: int) -> list[float]:
    rows = sample(len(table.ids), min(FILTERED, max(k, len(table.ids) // 10)), seed)
    expression = f"{ID} in [{', '.join(map(str, table.ids[rows].tolist()))}]"
    exact = top_k(queries, table.vectors[rows], k)[1]
    hits = [collection.search(query[None], k, expression)[0] for query in queries]
    return [_share_found(table, *each) for each in zip(queries, hits, exact, strict=True)]


def _paged(collection: Collection, table: EmbeddingTable, queries: np.ndarray) -> list[float]:
    exact = top_k(queries, table.vectors, min(PAGES * PAGE, len(table.ids)))[1]
    pages = [Query((Part("as embedded"),), PAGE, PAGE * number) for number in range(PAGES)]
    hits = []
    for query in queries:
        ask = partial(_ask, collection, query)
        hits.append([row for page in pages for row in collect_page(ask, page, APPROXIMATE_FIRST).rows])
    return [_share_found(table, *each) for each in zip(queries, hits, exact, strict=True)]


def _ask(collection: Collection, query: np.ndarray, limit: int) -> list[list[Any]]:
    return collection.search(query[None], limit)[0]


def _share_found(table: EmbeddingTable, query: np.ndarray, hits: Sequence[Sequence[Any]], exact: np.ndarray) -> float:
    """Return the share of the exact hits that were found. `exact`: float32[k] scores, best first."""
    rows = [table.row_of[key] for key in dict.fromkeys(hit[0] for hit in hits) if key in table.row_of]
    scores = scores_of(query[None], table.vectors[rows])[0]
    return float(np.count_nonzero(scores >= exact[-1] - 10.0**-DECIMALS) / len(exact))


def _timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def _percentiles(seconds: Sequence[float]) -> tuple[float, ...]:
    """Return p50 and p95 in milliseconds."""
    return tuple((np.percentile(seconds, [50, 95]) * 1000).tolist())
