"""The same images under another model: indexed into a temporary Milvus Lite file, measured, removed."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..indexing.run import run_insert
from ..indexing.summary import Summary
from ..milvus.connection import close
from ..models.model_id import is_folder_name, resolve_name
from ..models.registry import get_model, list_models
from ..search.searcher import Searcher
from ..settings import Settings, cache_dir
from .evaluator import Measuring, Progress
from .ground_truth import Truth
from .results import Evaluation
from .stored import Stored, read_stored

HERE = "here"


def named_models(names: Sequence[str]) -> list[str]:
    """The models that `--compare` names; 'here' stands for all of the registry whose weights are on this machine.

    Raises:
        InputError: there is no such model.
        ModelError: a folder holds no model.
    """
    known = {spec.name: spec.weights for spec in list_models()}
    here = [name for name, weights in known.items() if (weights.path or cache_dir() / weights.file).is_file()]
    wanted: list[str] = []
    for name in map(resolve_name, names):
        if is_folder_name(name):
            get_model(name)
        elif name not in known and name != HERE:
            raise InputError(
                f"--compare: there is no model named '{name}'; known models: {', '.join(known)}, or '{HERE}'"
            )
        wanted += here if name == HERE else [name]
    return list(dict.fromkeys(wanted))


def measure_model(
    name: str, settings: Settings, stored: Stored, truth: Truth, measuring: Measuring, folder: Path, progress: Progress
) -> Evaluation:
    """Measures the images of `stored` under the model `name`.

    Args:
        settings: those of the user's collection, of which device and runtime are taken.
        folder: an empty one, for the temporary collection.
    """
    other = dataclasses.replace(
        settings, uri=str(folder / "compared.db"), token="", collection="compared", model=name, weights=""
    )
    try:
        summary = _index(stored, other, folder, progress)
        searcher = Searcher(other)
        again = read_stored(searcher.collection, folder, "", progress("reading vectors", searcher.collection.count()))
        evaluation = measuring.measure(searcher, again, truth)
    finally:
        close(other.uri)  # the file is about to be removed
    if summary.rejected:
        evaluation.notes.append(f"{summary.rejected:,} images cannot be read any more, {name} is measured without")
    return dataclasses.replace(evaluation, collection=f"temporary ({name})")


def _index(stored: Stored, settings: Settings, folder: Path, progress: Progress) -> Summary:
    table = folder / "images.csv"
    with open(table, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "path"], *zip(stored.ids.tolist(), stored.paths, strict=True)])
    advance = progress(f"indexing by {settings.model}", len(stored.ids))
    done = 0

    def on_progress(summary: Summary, total: int) -> None:
        nonlocal done
        advance(summary.rows - done)
        done = summary.rows

    summary = run_insert(table, settings, rejects=str(folder / "rejected.csv"), on_progress=on_progress)
    if summary.interrupted:
        raise KeyboardInterrupt
    if summary.rejected == summary.rows:
        raise InputError(f"none of the images can be read any more: they cannot be measured under {settings.model}")
    return summary
