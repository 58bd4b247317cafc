"""Text-to-image search with declarative Towhee pipelines: CSV → decode → CLIP → normalise → Milvus, and back.

    from pipelines import Searcher, Settings, run_insert

    settings = Settings.from_env(uri="./search.db", model="builtin")
    run_insert("photos.csv", settings)
    for hit in Searcher(settings).by_text("a white dog").hits:
        print(hit.rank, hit.score, hit.path)

Importing this package registers its operators with Towhee, at once where Towhee is already imported, else the
moment it is: so the package itself costs nothing to import.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .indexing.run import Summary, build_insert, run_insert
    from .search.searcher import Hit, Results, Searcher
    from .settings import Settings

__all__ = ["Hit", "Results", "Searcher", "Settings", "Summary", "build_insert", "run_insert"]

_HOMES = {
    "Hit": "search.searcher", "Results": "search.searcher", "Searcher": "search.searcher", "Settings": "settings",
    "Summary": "indexing.summary", "build_insert": "declarations", "run_insert": "indexing.run",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Public names load their module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


class _RegisterAfterTowhee(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Lets Towhee be imported as ever, quietly, and registers the operators right after."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "towhee" or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        self._real = importlib.util.find_spec("towhee")
        if self._real is None or self._real.loader is None:
            return None
        return importlib.util.spec_from_file_location(
            name, self._real.origin, loader=self, submodule_search_locations=self._real.submodule_search_locations
        )

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        from .towhee_compat import quiet_known_warnings

        quiet_known_warnings()
        assert self._real is not None
        assert self._real.loader is not None
        self._real.loader.exec_module(module)
        from .operators import register_all

        register_all()


if "towhee" in sys.modules:
    from .operators import register_all

    register_all()
else:
    sys.meta_path.insert(0, _RegisterAfterTowhee())
