"""One call that measures a collection, and, beside it, the same images under other models."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..search.searcher import Searcher
from ..settings import Settings
from .evaluator import Measuring, Progress
from .ground_truth import read_truth
from .options import EvaluateOptions
from .other_models import measure_model, named_models
from .published import find_set
from .results import Evaluation
from .stored import read_stored


def evaluate(settings: Settings, options: EvaluateOptions, progress: Progress) -> list[Evaluation]:
    """Measures the collection; then, for each model of `options.compare`, its images indexed by that model.

    The other models' collections are Milvus Lite files in a temporary folder, removed afterwards: the user's own
    Milvus is only read.

    Raises:
        InputError: an option or a CSV is not usable.
        SearchError: the collection, its model or another model cannot be had.
    """
    measuring = Measuring(options.templates, options.queries, options.seed, progress)
    if options.published:
        find_set(options.published)
    others = named_models(options.compare)
    searcher = Searcher(settings)
    stored_labels = not options.labels and options.label_column in searcher.field_names
    with tempfile.TemporaryDirectory(prefix="evaluate-") as folder:
        stored = read_stored(
            searcher.collection, Path(folder), options.label_column if stored_labels else "",
            progress("reading vectors", searcher.collection.count()),
        )  # fmt: skip
        truth = read_truth(stored, options.labels, options.label_column, options.captions)
        found = [measuring.measure(searcher, stored, truth)]
        for number, name in enumerate(others):
            if name != searcher.settings.model:
                place = Path(folder, str(number))
                place.mkdir()
                found.append(measure_model(name, settings, stored, truth, measuring, place, progress))
    return found
