"""Which vector index a collection gets, and with which parameters it is built and searched.

Milvus Lite: below 5,000 rows FLAT; above, IVF_FLAT of a single list, which is an exact scan too, with and without
filters, but in C++, at a fifth of FLAT's latency. HNSW is no faster there (the engine's own loop over the keys
dominates) and loses hits under selective filters. A server gets HNSW.
"""

from __future__ import annotations

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


def choose_index(uri: str, rows: int) -> str:
    """The index type for this many rows."""
    if not is_lite(uri):
        return "HNSW"
    return "FLAT" if rows < FLAT_BELOW else "IVF_FLAT"


def build_params(uri: str, index_type: str) -> dict[str, object]:
    """Parameters for `create_index`."""
    if index_type == "HNSW":
        return dict(HNSW)
    if index_type == "IVF_FLAT":
        params = {"nlist": LITE_NLIST if is_lite(uri) else SERVER_NLIST}
        # pymilvus flattens the parameters and Milvus Lite reads only a nested 'params': both forms serve both.
        return {**params, "params": params}
    return {}


def search_params(uri: str, index_type: str, limit: int) -> dict[str, int]:
    """Parameters for a search that returns up to `limit` hits."""
    if index_type.startswith("IVF"):
        return {"nprobe": LITE_NPROBE if is_lite(uri) else SERVER_NPROBE}
    if index_type.startswith("HNSW"):
        return {"ef": max(128, limit)}  # a server refuses ef < limit
    return {}
