"""Evaluate a collection, and the same images under other models, by labels and captions."""

from __future__ import annotations

import csv
import dataclasses
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..indexing.run import run_insert
from ..indexing.summary import Summary
from ..milvus.connection import close
from ..models.clip import model_of
from ..models.model_id import resolve_name
from ..models.registry import get_model, list_models
from ..models.weights import find
from ..search.searcher import Searcher
from ..settings import Settings
from .evaluator import Evaluation, Evaluator, OnProgress, no_progress
from .exact import EmbeddingTable, read_table
from .ground_truth import GroundTruth, read_ground_truth
from .options import EvaluateOptions
from .prompts import read_templates
from .published import find_benchmark

HERE = "here"


def evaluate(settings: Settings, options: EvaluateOptions, on_progress: OnProgress = no_progress) -> list[Evaluation]:
    """Evaluate the collection; then, for each model of `options.compare`, its images embedded by that model.

    The collections of the other models are Milvus Lite files in a temporary folder, which is removed afterwards: the
    user's own Milvus is only read.

    Args:
        on_progress: called with the steps done, their total and what is being done.

    Raises:
        InputError: an option or a CSV cannot be used.
        SearchError: the collection, its model or another model is not available.
    """
    read_templates(options.templates)
    if options.published:
        find_benchmark(options.published)
    others = resolve_models(options.compare)
    searcher = Searcher(settings)
    keys = {} if options.labels else {field.name: field.key for field in searcher.fields}
    with tempfile.TemporaryDirectory(prefix="evaluate-") as folder:
        table = read_table(searcher.collection, Path(folder), keys.get(options.label_column, ""), on_progress)
        truth = read_ground_truth(table, options.labels, options.label_column, options.captions)
        evaluations = [_evaluate(searcher, table, truth, options, on_progress)]
        for number, name in enumerate(others):
            if name != searcher.settings.model:
                place = Path(folder, str(number))
                place.mkdir()
                evaluations.append(_evaluate_model(name, settings, table, truth, options, place, on_progress))
    return evaluations


def resolve_models(names: Sequence[str]) -> list[str]:
    """Return the models that `--compare` names; 'here' stands for every registered model with weights on this machine.

    Raises:
        InputError: there is no such model.
        ModelError: a folder holds no model.
    """
    here = [spec.name for spec in list_models() if find(spec)]
    resolved: list[str] = []
    for name in map(resolve_name, names):
        if name != HERE:
            get_model(name)
        resolved += here if name == HERE else [name]
    return list(dict.fromkeys(resolved))


def _evaluate(
    searcher: Searcher, table: EmbeddingTable, truth: GroundTruth, options: EvaluateOptions, on_progress: OnProgress
) -> Evaluation:
    evaluator = Evaluator(
        table, truth.subset(table.ids), model_of(searcher.settings).embed_texts, read_templates(options.templates),
        options.queries, options.seed, on_progress,
    )  # fmt: skip
    return evaluator.evaluate(searcher)


def _evaluate_model(
    name: str, settings: Settings, table: EmbeddingTable, truth: GroundTruth, options: EvaluateOptions, folder: Path,
    on_progress: OnProgress,
) -> Evaluation:  # fmt: skip
    """Index the images of `table` with another model into an empty folder, and evaluate that collection."""
    other = dataclasses.replace(
        settings, uri=str(folder / "compared.db"), token="", collection="compared", model=name, weights=""
    )
    try:
        summary = _index(table, other, folder, on_progress)
        searcher = Searcher(other)
        evaluation = _evaluate(
            searcher, read_table(searcher.collection, folder, "", on_progress), truth, options, on_progress
        )
    finally:
        close(other.uri)  # the file is about to be removed
    if summary.rejected:
        evaluation.notes.append(
            f"{summary.rejected:,} images cannot be read any more; {os.path.basename(name)} is measured without them"
        )
    return dataclasses.replace(evaluation, collection=f"temporary ({name})")


def _index(table: EmbeddingTable, settings: Settings, folder: Path, on_progress: OnProgress) -> Summary:
    images = folder / "images.csv"
    with open(images, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "path"], *zip(table.ids.tolist(), table.paths, strict=True)])

    def show(summary: Summary, total: int) -> None:
        on_progress(summary.rows, total, f"indexing with {os.path.basename(settings.model)}")

    summary = run_insert(images, settings, rejects=str(folder / "rejected.csv"), on_progress=show)
    if summary.interrupted:
        raise KeyboardInterrupt
    if summary.rejected == summary.rows:
        raise InputError(f"none of the images can be read any more: they cannot be measured under {settings.model}")
    return summary
