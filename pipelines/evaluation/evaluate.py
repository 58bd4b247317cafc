"""Evaluate a collection, and the same images under other models, by labels and captions."""

from __future__ import annotations

import csv
import dataclasses
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from ..errors import InputError, counted
from ..indexing.run import run_insert
from ..indexing.summary import Summary
from ..milvus.connection import close
from ..models.clip import text_model_of
from ..models.model_id import resolve_name
from ..models.registry import get_model, list_models
from ..models.text_models import list_text_models
from ..models.weights import find
from ..search.searcher import Searcher
from ..settings import Settings
from .evaluator import Evaluation, Evaluator, OnProgress, no_progress
from .exact import EmbeddingTable, read_table
from .ground_truth import GroundTruth, read_ground_truths
from .options import EvaluateOptions
from .prompts import read_templates
from .published import find_benchmark

HERE = "here"
Truths = Mapping[str, GroundTruth]  # by language, '' if none is given


def evaluate(settings: Settings, options: EvaluateOptions, on_progress: OnProgress = no_progress) -> list[Evaluation]:
    """Evaluate the collection, then the same images embedded by each model of `options.compare`.

    The collections of the other models are Milvus Lite files in a temporary folder, which is removed afterwards. The
    user's own Milvus is only read.

    Args:
        on_progress: called with the number of steps done, their total and a caption.

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
        truths = read_ground_truths(
            table, searcher.collection, options.labels, options.label_column, options.captions, options.text_columns
        )
        evaluations = _evaluate(searcher, table, truths, options, on_progress)
        for number, name in enumerate(others):
            if name in _text_models():
                reading = Searcher(dataclasses.replace(settings, text_model=name))
                evaluations += _evaluate(reading, table, truths, options, on_progress)
            elif name != searcher.settings.model or _in_another_precision(searcher):
                place = Path(folder, str(number))
                place.mkdir()
                evaluations += _evaluate_model(name, settings, table, truths, options, place, on_progress)
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
        if name != HERE and name not in _text_models():
            get_model(name)
        resolved += here if name == HERE else [name]
    return list(dict.fromkeys(resolved))


def _in_another_precision(searcher: Searcher) -> bool:
    """Whether the collection has no embedding in --precision; its own model is then measured in that precision."""
    stored = searcher.collection.precisions()
    return bool(stored) and searcher.settings.precision not in ("auto", *stored)


def _text_models() -> set[str]:
    return {spec.name for spec in list_text_models()}


def _evaluate(
    searcher: Searcher, table: EmbeddingTable, truths: Truths, options: EvaluateOptions, on_progress: OnProgress
) -> list[Evaluation]:
    """Evaluate a collection in each language."""
    model = text_model_of(searcher.settings)
    evaluations = []
    for language, truth in truths.items():
        templates = read_templates(options.templates)
        if language not in ("", "en") and not options.templates:
            templates = ("{}",)  # the default template is English
        embed = partial(model.embed_any, language=language)
        evaluator = Evaluator(
            table, truth.subset(table.ids), embed, templates, options.queries, options.seed, on_progress
        )
        evaluation = evaluator.evaluate(searcher)
        evaluations.append(dataclasses.replace(evaluation, language=language, text_model=searcher.settings.text_model))
    return evaluations


def _evaluate_model(
    name: str, settings: Settings, table: EmbeddingTable, truths: Truths, options: EvaluateOptions, folder: Path,
    on_progress: OnProgress,
) -> list[Evaluation]:  # fmt: skip
    """Index the images of `table` with another model into an empty folder, and evaluate that collection."""
    other = dataclasses.replace(
        settings,
        uri=str(folder / "compared.db"),
        token="",
        collection="compared",
        model=name,
        weights="",
        text_model="",
    )
    try:
        summary = _index(table, other, folder, on_progress)
        searcher = Searcher(other)
        evaluations = _evaluate(
            searcher, read_table(searcher.collection, folder, "", on_progress), truths, options, on_progress
        )
    finally:
        close(other.uri)  # the file is about to be removed
    if summary.rejected:
        evaluations[0].notes.append(
            f"{os.path.basename(name)} is measured without {counted(summary.rejected, 'image')} that cannot be read"
        )
    label = name if settings.precision == "auto" else f"{name}, {settings.precision}"
    return [dataclasses.replace(evaluation, collection=f"temporary ({label})") for evaluation in evaluations]


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
