"""Text-to-image search with declarative Towhee pipelines: CSV → decode → CLIP → normalise → Milvus, and back.

    from pipelines import Searcher, Settings, run_insert

    settings = Settings.from_env(uri="./search.db", model="builtin")
    run_insert("photos.csv", settings)
    for hit in Searcher(settings).by_text("a white dog").hits:
        print(hit.rank, hit.score, hit.path)

`from pipelines import ops, pipe` gives Towhee's own objects, with this project's operators registered: import them
before you declare pipelines. Names are loaded on first use, so the package itself takes no time to import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from towhee import ops, pipe

    from .declarations import build_insert
    from .indexing.run import run_insert
    from .indexing.summary import Summary
    from .search.results import Hit, Results
    from .search.searcher import Searcher
    from .settings import Settings

__version__ = "0.2.0"
__all__ = ["Hit", "Results", "Searcher", "Settings", "Summary", "build_insert", "ops", "pipe", "run_insert"]

_HOMES = {
    "Hit": "search.results", "Results": "search.results", "Searcher": "search.searcher", "Settings": "settings",
    "Summary": "indexing.summary", "build_insert": "declarations", "run_insert": "indexing.run",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name in ("ops", "pipe"):
        from .engine import load_towhee

        value = getattr(load_towhee(), name)
    elif name in _HOMES:
        value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    else:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    globals()[name] = value
    return value
