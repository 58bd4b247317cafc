"""The vector index of a collection: its types and parameters, how one is chosen and how it is searched.

Milvus Lite gets FLAT below 5,000 rows. Above, it gets IVF_FLAT with a single list: this is an exact scan too, with
and without filters, but in C++, at a fifth of FLAT's latency. HNSW gains little there (a million rows in 12 ms instead
of 14: `make bench-serve`) and loses hits, most of all under selective filters.

A server gets FLAT below 50,000 rows and HNSW above; Zilliz Cloud gets its AUTOINDEX. A server searches a sealed segment
that has no index yet with a temporary index of rows // 39 lists. It probes 16 of them, whatever the search requests: of
1,000 rows it finds about 650. Segments under 1,024 rows never get an index, so this state can be permanent. FLAT is
exempt from it. Therefore a collection below 5,000 rows gets FLAT, even if another type was requested. The parameters of
the FLAT index record the requested type.

Embeddings have length 1, so the three metric types rank hits alike: IP equals the cosine, and L2 (Milvus returns the
squared distance) is 2 - 2 × cosine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..errors import InputError
from .lite import is_lite

FLAT_BELOW = 5_000
# A FLAT search of 50,000 embeddings of 512 dimensions takes about as long as embedding the text of a query.
SERVER_FLAT_BELOW = 50_000
# The most lists that a server probes. Rows that a filter leaves out cost nothing, so filtered searches probe all lists.
ALL_LISTS = 65_536
MAX_EF = 32_768
# One list needs no training, so no segment is ever too small for it.
LITE_NLIST = 1
SERVER_NLIST = 1024
# Milvus Lite's default number of lists (128): the search stays exact on a collection that another program made.
LITE_NPROBE = 128
# Within the ranges of the HNSW paper (Malkov & Yashunin 2018, §4.1): M 5 to 48, efConstruction 100 and more.
HNSW = {"M": 16, "efConstruction": 200}

METRICS = ("COSINE", "IP", "L2")
AUTO = "AUTO"
# Checked here, because Milvus Lite accepts other names too, and can then never load the collection again.
LITE_TYPES = ("FLAT", "IVF_FLAT", "IVF_SQ8", "HNSW", "HNSW_SQ", "AUTOINDEX")
SERVER_TYPES = ("HNSW", "FLAT", "IVF_FLAT", "IVF_SQ8", "IVF_PQ", "SCANN", "DISKANN", "AUTOINDEX")
# Build parameters and their ranges, from https://milvus.io/docs/v2.3.x/index.md
_HNSW_RANGES = {"M": (4, 64), "efConstruction": (8, 512)}
_NLIST = {"nlist": (1, 65_536)}
_RANGES: dict[str, dict[str, tuple[int, int]]] = {
    "HNSW": _HNSW_RANGES, "HNSW_SQ": _HNSW_RANGES, "IVF_FLAT": _NLIST, "IVF_SQ8": _NLIST, "SCANN": _NLIST,
    "IVF_PQ": {**_NLIST, "m": (1, 65_536), "nbits": (1, 16)},
}  # fmt: skip


@dataclass(frozen=True)
class Index:
    """A vector index: its type, its metric type and its build parameters.

    In a request, the type can be AUTO, and '' keeps the type or the metric type of the current index.

    wanted: the requested type, if a server has FLAT until there are enough rows; `params` then belong to this type.
    """

    type: str = ""
    metric: str = ""
    params: Mapping[str, int] = field(default_factory=dict)
    wanted: str = ""

    @classmethod
    def described(cls, description: Mapping[str, Any]) -> Index:
        """Read `describe_index`. Milvus Lite nests the parameters; a server returns them as text at the top level."""
        index_type = str(description.get("index_type", "FLAT"))
        given = {**description, **(description.get("params") or {})}
        wanted = str(given.get("wanted", ""))
        params = {name: int(given[name]) for name in _RANGES.get(wanted or index_type, {}) if name in given}
        return cls(index_type, str(description.get("metric_type", "COSINE")), params, wanted)

    def __str__(self) -> str:
        """Format for people: `HNSW (M 16, efConstruction 200)`."""
        params = ", ".join(f"{name} {value}" for name, value in self.params.items())
        text = f"{self.wanted or self.type} ({params})" if params else self.wanted or self.type
        if self.wanted == AUTO:
            return f"FLAT (HNSW from {SERVER_FLAT_BELOW:,} rows on)"
        return f"FLAT ({text} from {FLAT_BELOW:,} rows on)" if self.wanted else text


def choose_index(uri: str, index_type: str = "", metric: str = "", params: Sequence[str] = ()) -> Index | None:
    """Check a request against what this Milvus can do. Return None if nothing was requested.

    Args:
        params: `name=value` each.

    Raises:
        InputError: this Milvus cannot do it; the message lists what it can do.
    """
    if not (index_type or metric or params):
        return None
    index = Index(index_type.upper(), metric.upper(), dict(map(_parse_param, params)))
    check_index(uri, index)
    return index


def check_index(uri: str, index: Index, dim: int = 0) -> None:
    """Check a requested index against what this Milvus can do, and against the dimension of the embeddings if known.

    Raises:
        InputError: this Milvus cannot build it; the message says what it can build.
    """
    where = "Milvus Lite" if is_lite(uri) else "Zilliz Cloud" if is_cloud(uri) else "a Milvus server"
    known = LITE_TYPES if is_lite(uri) else ("AUTOINDEX",) if is_cloud(uri) else SERVER_TYPES
    if index.type not in ("", AUTO, *known):
        raise InputError(f"{where} has no index '{index.type.lower()}'; it has: auto, {', '.join(known).lower()}")
    if index.metric not in ("", *METRICS):
        raise InputError(f"there is no metric '{index.metric.lower()}'; there are: {', '.join(METRICS).lower()}")
    for name, value in index.params.items():
        _check_param(index.type, name, value)
    if index.type == "SCANN" and dim % 2:
        raise InputError(f"index scann needs an even number of dimensions, and the model has {dim}: take another index")
    part = {**_defaults(uri, index.type), **index.params}.get("m", 1)
    if dim % part:
        divisors = [str(number) for number in range(1, dim + 1) if dim % number == 0]
        raise InputError(
            f"index {index.type.lower()} cuts an embedding into m equal parts: --index-param m must divide the model's "
            f"{dim} dimensions, and {part} does not; it can be {', '.join(divisors)}"
        )


def _parse_param(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    return name, int(value) if value.isascii() and value.isdigit() else value


def _check_param(index_type: str, name: str, value: Any) -> None:
    if index_type in ("", AUTO):
        raise InputError(f"index parameter {name}={value} needs an index type that it belongs to")
    ranges = _RANGES.get(index_type, {})
    if name not in ranges:
        takes = ", ".join(ranges) or "none"
        raise InputError(f"index {index_type.lower()} has no parameter '{name}' (it takes: {takes})")
    low, high = ranges[name]
    if not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"index parameter {name} is a number from {low} to {high}, not '{value}'")


def resolve(uri: str, requested: Index, rows: int, current: Index | None = None) -> Index:
    """Complete a request: keep the current type and metric if it names none, and resolve AUTO by the number of rows."""
    metric = requested.metric or (current.metric if current else "COSINE")
    if not requested.type and current:
        requested = current
    index_type = requested.wanted or requested.type or AUTO
    if index_type == AUTO and is_lite(uri):
        index_type = "FLAT" if rows < FLAT_BELOW else "IVF_FLAT"
    elif index_type == AUTO and is_cloud(uri):
        index_type = "AUTOINDEX"
    elif index_type == AUTO:
        if rows < SERVER_FLAT_BELOW:
            return Index("FLAT", metric, {}, wanted=AUTO)
        index_type = "HNSW"
    params = {**_defaults(uri, index_type), **requested.params}
    if rows < FLAT_BELOW and index_type != "FLAT" and is_server(uri):
        return Index("FLAT", metric, params, wanted=index_type)
    return Index(index_type, metric, params)


def _defaults(uri: str, index_type: str) -> dict[str, int]:
    if index_type in ("HNSW", "HNSW_SQ"):
        return dict(HNSW)
    if index_type.startswith("IVF") or index_type == "SCANN":
        extra = {"m": 8, "nbits": 8} if index_type == "IVF_PQ" else {}
        return {"nlist": LITE_NLIST if is_lite(uri) else SERVER_NLIST, **extra}
    return {}


def search_params(uri: str, index_type: str, limit: int, filtered: bool) -> dict[str, int]:
    """Return the parameters of a search for up to `limit` hits.

    They change only at powers of two, so that neighbouring pages are cut from the same list of hits. An `ef` of four
    times the number of hits finds 99.9 % of 1,000 hits; a server refuses an `ef` that is smaller than the limit.
    """
    reach = max(32, 1 << (limit - 1).bit_length())
    if index_type.startswith("IVF") or index_type == "SCANN":
        return {"nprobe": LITE_NPROBE if is_lite(uri) else ALL_LISTS if filtered else max(64, reach)}
    if index_type.startswith("HNSW"):
        return {"ef": min(MAX_EF, 4 * reach)}
    if index_type == "DISKANN":
        return {"search_list": max(128, reach)}
    return {}


def cosine(metric: str, distance: float) -> float:
    """Convert the distance that Milvus returns for two vectors of length 1 into their cosine."""
    return 1 - distance / 2 if metric == "L2" else distance


def loses_filtered_hits(uri: str, index_type: str) -> bool:
    """Return True if a selective filter makes this index return too few hits, as the graphs of Milvus Lite do."""
    return is_lite(uri) and index_type in ("HNSW", "HNSW_SQ", "AUTOINDEX")


def is_server(uri: str) -> bool:
    """Return True for a self-hosted Milvus server: neither a Milvus Lite file nor Zilliz Cloud."""
    return not is_lite(uri) and not is_cloud(uri)


def is_cloud(uri: str) -> bool:
    """Return True for Zilliz Cloud, which has one index type."""
    host = urlsplit(uri).hostname or ""
    return host.endswith((".zillizcloud.com", ".zilliz.com", ".zilliz.com.cn"))
