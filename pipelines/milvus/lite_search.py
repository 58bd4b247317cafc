"""Read Milvus Lite through its own objects in this process: gRPC would carry each row from thread to thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import lite_fast_path
from .lite_mirror import opened_as
from .lite_server import lite_collection


class LiteHits(list[dict[str, Any]]):
    """The hits of one query as pymilvus returns them: `id`, `distance` and `entity`."""

    @property
    def ids(self) -> list[Any]:
        """The primary keys."""
        return [hit["id"] for hit in self]

    @property
    def distances(self) -> list[float]:
        """The scores."""
        return [hit["distance"] for hit in self]


def search_lite(
    path: str, name: str, embeddings: np.ndarray, limit: int, expression: str, names: Sequence[str],
    params: Mapping[str, int],
) -> list[LiteHits] | None:  # fmt: skip
    """Search as a client of this file's server would.

    Args:
        path: the file, as `lite_path` spells it.
        embeddings: float32[n, dim].
        names: the fields to return.

    Returns:
        The hits of each query. None if the client has to search: it reports the error, or resolves it.
    """
    options = {"expr": expression or None, "output_fields": list(names), "search_params": dict(params)}
    found = _ask(path, name, "search", list(embeddings), limit, **options)
    if found is None:
        return None
    for hits in found:
        for hit, score in zip(hits, np.array([hit["distance"] for hit in hits], np.float32).tolist(), strict=True):
            hit["distance"] = score  # gRPC carries them as float32, too
    return list(map(LiteHits, found))


def get_lite(path: str, name: str, ids: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]] | None:
    """Return rows by id as a client of this file's server would; None if the client has to ask.

    A row takes 0.05 ms, or 1.2 ms over gRPC. The page requests one row for each thumbnail that it shows.
    """
    found: list[dict[str, Any]] | None = _ask(path, name, "get", list(ids), output_fields=list(names))
    return found


def _ask(path: str, name: str, method: str, *arguments: Any, **options: Any) -> Any:
    """Call a method of Milvus Lite's collection. Return None if it fails, or if this Milvus Lite is not a known one."""
    if not lite_fast_path.untouched:
        return None
    try:
        return getattr(lite_collection(opened_as(path), name), method)(*arguments, **options)
    except Exception:
        return None
