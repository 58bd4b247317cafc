"""Find what an insert with --prune would remove."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from ..errors import InputError
from ..milvus import schema
from ..settings import Settings
from ..sources import open_source
from ..sources.column_types import parse_types
from .gone import GoneFiles
from .plan import PLAN_ROWS, Planner
from .prune import Pruned, prune_source, source_name
from .target import adopt_columns, open_target


def find_prunable(
    source: str | os.PathLike[str], settings: Settings, *,
    path_column: str = "", types: Iterable[str] = (), exclude: Sequence[str] = (), include_hidden: bool = False,
) -> Pruned:  # fmt: skip
    """Return what `run_insert` with `prune` would remove, without changing anything.

    Raises:
        InputError: as `run_insert`, and for a collection of version 0.1, which has to be copied first.
    """
    rows = open_source(
        source, allow_private=settings.allow_private_urls,
        path_column=path_column, types=parse_types(types), exclude=exclude, include_hidden=include_hidden,
    )  # fmt: skip
    target, name = open_target(settings, reembed=False), source_name(source)
    target.collection.load()
    if target.collection.version() < schema.VERSION:
        raise InputError("a collection of version 0.1 has to be copied once: run this insert without --dry-run first")
    adopt_columns(rows, name, target.collection)
    gone = GoneFiles(target.collection, settings.allow_private_urls)
    planner = Planner(target.collection, target.model_id, name, gone=gone, fills=rows.fills)
    for _ in planner.plans(rows, PLAN_ROWS):
        pass
    return prune_source(target.collection, name, planner.listing, rows.is_folder, gone, lambda gone, total: False)
