"""Which vector index a collection gets, and with which parameters it is built and searched.

Milvus Lite: below 5,000 rows FLAT; above, IVF_FLAT of a single list, which is an exact scan too, with and without
filters, but in C++, at a fifth of FLAT's latency. HNSW is no faster there (the engine's own loop over the keys
dominates) and loses hits under selective filters. A server gets HNSW, Zilliz Cloud its AUTOINDEX.

Embeddings have length 1, so the three metric types order hits alike: IP equals the cosine, and L2 (Milvus gives the
squared distance) is 2 - 2 × cosine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..errors import InputError
from .connection import is_lite

FLAT_BELOW = 5_000
# One list needs no training, so no segment is ever too small for it.
LITE_NLIST = 1
SERVER_NLIST = 1024
# More than any list count Milvus Lite has by itself (128): the search stays exact on a collection made elsewhere.
LITE_NPROBE = 128
SERVER_NPROBE = 32
# Of the HNSW paper's range (Malkov & Yashunin 2018, §4.1): M 5..48, efConstruction 100 and more.
HNSW = {"M": 16, "efConstruction": 200}

METRICS = ("COSINE", "IP", "L2")
AUTO = "AUTO"
LITE_TYPES = ("FLAT", "IVF_FLAT", "IVF_SQ8", "HNSW", "HNSW_SQ", "AUTOINDEX")
# Milvus Lite takes other names, too, and then can never load the collection again: the lists are checked here.
SERVER_TYPES = ("HNSW", "FLAT", "IVF_FLAT", "IVF_SQ8", "IVF_PQ", "SCANN", "DISKANN", "AUTOINDEX")
# Build parameters and their ranges, of https://milvus.io/docs/v2.3.x/index.md
_HNSW_RANGES = {"M": (4, 64), "efConstruction": (8, 512)}
_NLIST = {"nlist": (1, 65_536)}
_RANGES: dict[str, dict[str, tuple[int, int]]] = {
    "HNSW": _HNSW_RANGES, "HNSW_SQ": _HNSW_RANGES, "IVF_FLAT": _NLIST, "IVF_SQ8": _NLIST, "SCANN": _NLIST,
    "IVF_PQ": {**_NLIST, "m": (1, 65_536), "nbits": (1, 16)},
}  # fmt: skip


@dataclass(frozen=True)
class Index:
    """A vector index: its type, its metric type, the parameters it is built with.

    As a wish, type may be AUTO, and '' leaves type or metric as they are.
    """

    type: str = ""
    metric: str = ""
    params: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def described(cls, description: Mapping[str, Any]) -> Index:
        """From `describe_index`. Milvus Lite has the parameters nested, a server as text beside the rest."""
        index_type = str(description.get("index_type", "FLAT"))
        given = {**description, **(description.get("params") or {})}
        params = {name: int(given[name]) for name in _RANGES.get(index_type, {}) if name in given}
        return cls(index_type, str(description.get("metric_type", "COSINE")), params)

    def __str__(self) -> str:
        """As a person reads it: `HNSW (M 16, efConstruction 200)`."""
        params = ", ".join(f"{name} {value}" for name, value in self.params.items())
        return f"{self.type} ({params})" if params else self.type


def choose_index(uri: str, index_type: str = "", metric: str = "", params: Sequence[str] = ()) -> Index | None:
    """Checks what a person asked for against what this Milvus can do. None: nothing was asked for.

    Args:
        params: `name=value` each.

    Raises:
        InputError: this Milvus does not have it; the message lists what it has.
    """
    if not (index_type or metric or params):
        return None
    where = "Milvus Lite" if is_lite(uri) else "Zilliz Cloud" if is_cloud(uri) else "a Milvus server"
    known = LITE_TYPES if is_lite(uri) else ("AUTOINDEX",) if is_cloud(uri) else SERVER_TYPES
    chosen, measure = index_type.upper(), metric.upper()
    if chosen not in ("", AUTO, *known):
        raise InputError(f"{where} has no index '{index_type}'; it has: auto, {', '.join(known).lower()}")
    if measure not in ("", *METRICS):
        raise InputError(f"there is no metric '{metric}'; there are: {', '.join(METRICS).lower()}")
    return Index(chosen, measure, dict(_parse_param(chosen, text) for text in params))


def _parse_param(index_type: str, text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    if index_type in ("", AUTO):
        raise InputError(f"--index-param {text} needs an --index that it belongs to")
    ranges = _RANGES.get(index_type, {})
    if name not in ranges:
        takes = ", ".join(ranges) or "none"
        raise InputError(f"index {index_type.lower()} has no parameter '{name}' (it takes: {takes})")
    low, high = ranges[name]
    if not value.isascii() or not value.isdigit() or not low <= int(value) <= high:
        raise InputError(f"--index-param {name} is a number from {low} to {high}, not '{value}'")
    return name, int(value)


def settle(uri: str, wanted: Index, rows: int, current: Index | None = None) -> Index:
    """The index itself: what was left open is as it is now; AUTO is decided by the number of rows."""
    metric = wanted.metric or (current.metric if current else "COSINE")
    if not wanted.type and current:
        return Index(current.type, metric, current.params)
    index_type = wanted.type
    if index_type in ("", AUTO):
        on_server = "AUTOINDEX" if is_cloud(uri) else "HNSW"
        index_type = on_server if not is_lite(uri) else "FLAT" if rows < FLAT_BELOW else "IVF_FLAT"
    return Index(index_type, metric, {**_defaults(uri, index_type), **wanted.params})


def _defaults(uri: str, index_type: str) -> dict[str, int]:
    if index_type in ("HNSW", "HNSW_SQ"):
        return dict(HNSW)
    if index_type.startswith("IVF") or index_type == "SCANN":
        extra = {"m": 8, "nbits": 8} if index_type == "IVF_PQ" else {}
        return {"nlist": LITE_NLIST if is_lite(uri) else SERVER_NLIST, **extra}
    return {}


def build_params(index: Index) -> dict[str, object]:
    """Parameters for `create_index`.

    pymilvus flattens them and Milvus Lite reads only a nested 'params': both forms serve both.
    """
    return {**index.params, "params": dict(index.params)} if index.params else {}


def search_params(uri: str, index_type: str, limit: int) -> dict[str, int]:
    """Parameters for a search that returns up to `limit` hits."""
    if index_type.startswith("IVF") or index_type == "SCANN":
        return {"nprobe": LITE_NPROBE if is_lite(uri) else SERVER_NPROBE}
    if index_type.startswith("HNSW"):
        return {"ef": max(128, limit)}  # a server refuses ef < limit
    if index_type == "DISKANN":
        return {"search_list": max(128, limit)}
    return {}


def cosine(metric: str, distance: float) -> float:
    """The cosine of two vectors of length 1 from what Milvus calls their distance: one score for every metric."""
    return 1 - distance / 2 if metric == "L2" else distance


def loses_filtered_hits(uri: str, index_type: str) -> bool:
    """Whether a selective filter makes this index return too few hits: the graphs of Milvus Lite, without a sign."""
    return is_lite(uri) and index_type in ("HNSW", "HNSW_SQ", "AUTOINDEX")


def is_cloud(uri: str) -> bool:
    """True for Zilliz Cloud, which has one index type."""
    host = urlsplit(uri).hostname or ""
    return host.endswith((".zillizcloud.com", ".zilliz.com", ".zilliz.com.cn"))
