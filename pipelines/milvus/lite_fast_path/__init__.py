"""Milvus Lite without its loops over every primary key, and with one copy of the vectors in memory.

Milvus Lite 3.2 walks every primary key in Python for each search, query and count, to find the newest version of each
row and whether it was deleted. It also holds the vectors twice: in its index and in the segment. `live_rows` finds the
live rows once for all readers, `reads` replaces the functions that walked the keys, and `segment` reads vectors from
their file when they are needed. `exact` searches indexes that must not miss a row, with the help of `codes`.

`apply` replaces the functions of the installed Milvus Lite. It does so only for versions that it was compared with
(`tests/milvus/test_lite_fast_path.py` does this on random histories); any other version stays as it is. The same change
is proposed upstream, see `docs/upstream/milvus-lite.md`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

KNOWN_VERSIONS = frozenset({"3.2.2"})

# The original functions, by name. They handle what the replacements do not cover.
untouched: dict[str, Callable[..., Any]] = {}
_lock = threading.Lock()


def apply() -> bool:
    """Replace Milvus Lite's slow functions, once per process. Return False if its version is not a known one.

    Collections that are already open still use the original functions.
    """
    if metadata.version("milvus-lite") not in KNOWN_VERSIONS:
        return False
    with _lock:
        if not untouched:
            _replace()
    return True


def read_columns(collection: Any, names: list[str]) -> list[pa.Table] | None:
    """Return whole columns of a Milvus Lite collection, in parts; None if its functions are not replaced."""
    from . import reads

    return reads.read_columns(collection, names) if untouched else None


def _replace() -> None:
    from milvus_lite.adapter.grpc.servicer import MilvusServicer
    from milvus_lite.engine import collection
    from milvus_lite.index import faiss_hnsw, faiss_hnsw_sq, faiss_ivf_flat, faiss_ivf_sq8
    from milvus_lite.storage.delta_index import DeltaIndex
    from milvus_lite.storage.memtable import MemTable

    from . import live_rows, reads, search
    from .segment import LazySegment

    replacements: list[tuple[Any, str, Any]] = [
        (MemTable, "apply_insert", live_rows.apply_insert),
        (MemTable, "apply_delete", live_rows.apply_delete),
        (DeltaIndex, "add_batch", live_rows.add_batch),
        (collection.Collection, "_read_snapshot", live_rows.read_snapshot),
        (collection.Collection, "_num_entities", reads.num_entities),
        (collection.Collection, "query", reads.query),
        (collection.Collection, "get", reads.get),
        (collection, "execute_search_with_index", search.execute_search_with_index),
        (collection, "Segment", LazySegment),
        (MilvusServicer, "Query", reads.answer_query),
        *((module, "faiss", reads.Faiss()) for module in (faiss_hnsw, faiss_hnsw_sq, faiss_ivf_flat, faiss_ivf_sq8)),
    ]
    untouched.update({name: getattr(owner, name) for owner, name, _ in replacements})
    for owner, name, replacement in replacements:
        setattr(owner, name, replacement)
