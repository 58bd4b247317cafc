"""One call that measures a collection, and, beside it, the same pictures under other models."""

from __future__ import annotations

import csv
import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..insert import run_insert
from ..milvus.connection import close_all
from ..models.clip import load_model
from ..models.registry import list_models
from ..search import Searcher
from ..settings import Settings, cache_dir
from .index_loss import measure_index
from .prompts import read_templates, spoken, unit
from .published import find_set
from .results import Evaluation, Task
from .stored import Stored, read_stored
from .tasks import Sampling, caption_tasks, class_names, embed_captions, same_class
from .truth import Truth, read_truth

_INDEX_QUERIES = 200

# Told what is being done and of how many; returns what is to be told of each step.
Progress = Callable[[str, int], Callable[[int], object]]


@dataclass(frozen=True)
class Options:
    """What to measure by. See `python -m pipelines evaluate --help`."""

    labels: str = ""
    label_column: str = "label"
    captions: str = ""
    templates: str = ""
    queries: int = 5000
    seed: int = 0
    compare: Sequence[str] = ()
    published: str = ""


def evaluate(settings: Settings, options: Options, progress: Progress) -> list[Evaluation]:
    """Measures the collection; then, for each model of `options.compare`, its pictures indexed by that model.

    The other models' collections are Milvus Lite files in a temporary folder, removed afterwards: the user's own
    Milvus is only read.

    Raises:
        InputError: an option or a CSV is not usable.
        SearchError: the collection, its model or another model cannot be had.
    """
    read_templates(options.templates)
    if options.published:
        find_set(options.published)
    others = _models_beside(settings, options.compare)
    with tempfile.TemporaryDirectory(prefix="evaluate-") as folder:
        searcher = Searcher(settings)
        has_field = options.label_column in searcher.field_names
        label_field = options.label_column if has_field and not options.labels else ""
        stored = _read(searcher, Path(folder), label_field, progress)
        truth = read_truth(stored, options.labels, options.label_column, options.captions)
        found = [_measure(searcher, stored, truth, options, progress)]
        for name in others:
            if name != searcher.settings.model:
                found.append(_measure_model(name, settings, stored, truth, options, Path(folder), progress))
    return found


def _models_beside(settings: Settings, names: Sequence[str]) -> list[str]:
    """The models to compare with; 'here' stands for all whose weights are on this machine."""
    known = {spec.name: spec for spec in list_models()}
    wanted: list[str] = []
    for name in names:
        if name == "here":
            wanted += [
                spec.name for spec in known.values() if (spec.weights.path or cache_dir() / spec.weights.file).is_file()
            ]
        elif name in known:
            wanted.append(name)
        else:
            raise InputError(
                f"--compare: there is no model named '{name}'; known models: {', '.join(known)}, or 'here'"
            )
    return list(dict.fromkeys(wanted))


def _read(searcher: Searcher, folder: Path, label_field: str, progress: Progress) -> Stored:
    return read_stored(searcher.store, folder, label_field, progress("reading vectors", searcher.store.count()))


def _measure(searcher: Searcher, stored: Stored, truth: Truth, options: Options, progress: Progress) -> Evaluation:
    start = time.perf_counter()
    settings = searcher.settings
    embed = load_model(settings.model, settings.weights, settings.device, settings.runtime).embed_texts
    sampling = Sampling(options.queries, options.seed)
    templates = read_templates(options.templates)
    present = set(stored.ids.tolist())
    truth = Truth(
        {key: label for key, label in truth.labels.items() if key in present},
        [caption for caption in truth.captions if caption.id in present],
        list(truth.notes),
    )
    tasks: list[Task] = []
    asked: list[np.ndarray] = []
    texts: list[str] = []
    classes = truth.classes()
    if len(classes) > 1:
        task, vectors = class_names(stored, truth, templates, embed, sampling, progress("class names", len(classes)))
        tasks.append(task)
        asked.append(vectors)
        texts += [templates[0].replace("{}", spoken(name)) for name in classes]
        same = same_class(stored, truth, sampling)
        tasks += [same] if same else []
    if truth.captions:
        vectors = embed_captions(truth, embed, progress("captions", len(truth.captions)))
        tasks += caption_tasks(stored, truth, vectors, sampling)
        asked.append(vectors)
        texts += [caption.text for caption in truth.captions]
    notes = list(truth.notes)
    if not tasks:
        asked.append(np.asarray(stored.vectors[sampling.of(len(stored.ids))]))
        notes.append("no labels and no captions to measure by: only the index is measured, by pictures as queries")
    queries = np.concatenate(asked)
    queries = queries[Sampling(_INDEX_QUERIES, options.seed).of(len(queries))]
    index = measure_index(searcher.store, stored, unit(queries), texts, embed, options.seed)
    return Evaluation(
        settings.collection, searcher.info().model, len(stored.ids), len(classes), len(truth.captions),
        len(templates), round(time.perf_counter() - start, 1), tasks, index, notes,
    )  # fmt: skip


def _measure_model(
    name: str, settings: Settings, stored: Stored, truth: Truth, options: Options, folder: Path, progress: Progress
) -> Evaluation:
    """The same pictures under another model, in a temporary Milvus Lite file."""
    place = folder / name
    place.mkdir()
    table = place / "pictures.csv"
    with open(table, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "path"], *zip(stored.ids.tolist(), stored.paths, strict=True)])
    other = dataclasses.replace(
        settings, uri=str(place / "x.db"), token="", collection="compared", model=name, weights=""
    )
    advance = progress(f"indexing by {name}", len(stored.ids))
    done = 0

    def on_progress(summary: object, total: int) -> None:
        nonlocal done
        rows = summary.rows  # type: ignore[attr-defined]
        advance(rows - done)
        done = rows

    try:
        summary = run_insert(table, other, rejects=str(place / "rejected.csv"), on_progress=on_progress)
        if summary.interrupted:
            raise KeyboardInterrupt
        searcher = Searcher(other)
        evaluation = _measure(searcher, _read(searcher, place, "", progress), truth, options, progress)
    finally:
        close_all()  # the file is about to be removed
    if summary.rejected:
        evaluation.notes.append(f"{summary.rejected:,} pictures cannot be read any more and are left out")
    return dataclasses.replace(evaluation, collection=f"temporary ({name})")
