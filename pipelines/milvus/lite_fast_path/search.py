"""Milvus Lite's search on `live_rows`: threads search the parts of all segments, then the nearest hits are merged."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import faiss
import numpy as np
from milvus_lite.index.brute_force import BruteForceIndex

from ...threads import usable_cores
from . import untouched
from .exact import LEAST_QUERIES, Nearest
from .live_rows import LiveRows, Source
from .reads import Row, both, matching, read_rows


def execute_search_with_index(
    query_vectors: np.ndarray, segments: Any, memtable: Any, delta_index: Any, top_k: int, metric_type: str,
    pk_field: str, vector_field: str, **options: Any,
) -> list[list[Row]]:  # fmt: skip
    """Replace the function of `milvus_lite.search.executor_indexed`: find the nearest rows per source, then of all."""
    if not isinstance(delta_index, LiveRows):
        request = (query_vectors, segments, memtable, delta_index, top_k, metric_type, pk_field, vector_field)
        answer: list[list[Row]] = untouched["execute_search_with_index"](*request, **options)
        return answer
    sources = delta_index.sources(memtable, options["partition_names"]) if top_k > 0 else []
    spread: Any = map if options["compiled_filter"] is None else _threads().map
    sources = list(spread(lambda source: _with_vector(source, vector_field, options), sources))
    asked = (query_vectors, top_k, metric_type, vector_field, options["search_params"])
    floor = np.full(len(query_vectors), -np.inf, np.float32)
    searches = [(at, search) for at, source in enumerate(sources) for search in _searches(source, *asked, floor)]
    found = list(_threads().map(lambda each: _alone(each[1]), searches))
    best = _merge([at for at, _ in searches], found, len(query_vectors), top_k)
    fields, project = options["output_fields"], options["project_record_fn"]
    names = None if fields is None or "*" in fields else [pk_field, "$meta", *fields]
    if names and not any("$meta" in source.segment.scalars.column_names for source in sources):
        project = _without_key(pk_field)  # the given one checks each hit against all fields of the schema
    records = iter(read_rows([s.segment for s in sources], [hit[1:] for hits in best for hit in hits], names))
    return [[_hit(distance, next(records), pk_field, project) for distance, _, _ in hits] for hits in best]


def _without_key(pk_field: str) -> Callable[[Row], Row]:
    return lambda record: {name: value for name, value in record.items() if name != pk_field}


def _with_vector(source: Source, vector_field: str, options: dict[str, Any]) -> Source:
    """Return the source with the mask of the rows that match the filter and have a vector."""
    mask = matching(source, options["compiled_filter"], options["indexed_filter_plan"])
    mask = both(mask, source.segment.null_mask(vector_field))
    return Source(source.segment, None if mask is None or mask.all() else mask)


def _searches(
    source: Source,
    queries: np.ndarray,
    top_k: int,
    metric_type: str,
    vector_field: str,
    params: Any,
    floor: np.ndarray,
) -> list[Callable[[], Nearest]]:
    """Return the searches of a source's parts, which several threads can share."""
    segment, mask = source
    if mask is not None and not mask.any():
        return []
    exact = segment.exact_indexes.get(vector_field)
    # With only a few queries, faiss compares just the masked rows, in place; blocks without codes would copy them.
    if exact is not None and (mask is None or exact.takes_masks or len(queries) >= LEAST_QUERIES):
        searches: list[Callable[[], Nearest]] = exact.searches(queries, top_k, mask, floor)
        return searches
    index = segment.indexes.get(vector_field)
    if index is None:
        index = BruteForceIndex.build(segment.vector_data(vector_field)[0], metric_type)
    return [partial(index.search, queries, top_k, valid_mask=mask, params=params)]


def _merge(
    sources: list[int], found: Sequence[Nearest], queries: int, top_k: int
) -> list[list[tuple[float, int, int]]]:
    """Return the nearest of all found rows for each query, each as (distance, number of its source, row)."""
    if not found:
        return [[] for _ in range(queries)]
    rows, distances = (np.concatenate(part, axis=1) for part in zip(*found, strict=True))
    numbers = np.repeat(sources, [part[0].shape[1] for part in found])
    distances = np.where(rows < 0, np.inf, distances)
    order = np.lexsort((rows, np.broadcast_to(numbers, rows.shape), distances))[:, :top_k]
    best = (np.take_along_axis(distances, order, 1), numbers[order], np.take_along_axis(rows, order, 1))
    each = zip(*(part.tolist() for part in best), strict=True)
    return [[hit for hit in zip(*columns, strict=True) if hit[2] >= 0] for columns in each]


@cache
def _threads() -> ThreadPoolExecutor:
    """Return the threads that search sources, one per core."""
    return ThreadPoolExecutor(usable_cores(), "lite-search")


def _alone(search: Callable[[], Nearest]) -> Nearest:
    """Search in this thread alone, even where faiss would share the work with other threads."""
    if "faiss" in sys.modules:  # imported with the first faiss index
        faiss.omp_set_num_threads(1)
    return search()


def _hit(distance: float, record: Row, pk_field: str, project: Any) -> Row:
    return {"id": record[pk_field], "distance": distance, "entity": project(record)}
