"""Published zero-shot retrieval figures of the models, for comparison with measured ones.

The figures are in published.csv, in per cent. Source: `docs/openclip_retrieval_results.csv` of
github.com/mlfoundations/open_clip, commit 05e7db4, the rows of the registry's weights (`openai`, `laion2b_s34b_b79k`,
`_b88k` and `_s32b_b82k`, `laion5b_s13b_b90k`, `datacomp_xl_s13b_b90k`): raw captions as queries, no template.
The source calls "text_to_image" image retrieval.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import InputError
from ..models.model_id import fingerprint_of, name_of
from ..models.registry import get_model
from .evaluator import Evaluation

RECALLS = ("recall@1", "recall@5", "recall@10")


@dataclass(frozen=True)
class Benchmark:
    """A public test set; `key` names its rows in published.csv."""

    key: str
    title: str
    images: int
    captions: int


FLICKR30K = Benchmark("flickr30k", "Flickr30k, 1K test split", 1_000, 5_000)
COCO = Benchmark("coco", "MS-COCO, 5K test split", 5_000, 25_010)
# The name that --published takes → the benchmark to compare with. This project knows no table of these models on
# Flickr8k's 1K test split (clip-as-service's covers the whole set of 8,000). Flickr30k is the most similar set, with
# images and captions of the same kind and number.
BENCHMARKS = {"flickr30k": FLICKR30K, "coco": COCO, "flickr8k": FLICKR30K}


@dataclass(frozen=True)
class Difference:
    """A measured and a published figure, in per cent; `points` is their difference, measured minus published."""

    task: str
    metric: str
    measured: float
    published: float
    within_interval: bool
    points: float


@dataclass(frozen=True)
class Comparison:
    """The figures of one model and the published ones; `caveats` say why they may not be comparable."""

    model: str
    benchmark: str
    differences: list[Difference]
    caveats: list[str]


@cache
def published_figures(benchmark: Benchmark) -> dict[str, dict[str, dict[str, float]]]:
    """Return recall in per cent by model, task ('text_to_image', 'image_to_text') and metric."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    with Path(__file__).with_name("published.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["benchmark"] == benchmark.key:
                found.setdefault(row["model"], {})[row["task"]] = {name: float(row[name]) for name in RECALLS}
    return found


def find_benchmark(name: str) -> Benchmark:
    """Return the benchmark for a name that `--published` takes.

    Raises:
        InputError: there is no such benchmark.
    """
    if name not in BENCHMARKS:
        raise InputError(f"--published: no figures for '{name}'; there are some for: {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def compare(evaluation: Evaluation, name: str) -> Comparison | None:
    """Compare an evaluation with the published figures of its model; None if the model or the tasks have none."""
    benchmark = find_benchmark(name)
    differences = []
    for key, recalls in published_figures(benchmark).get(name_of(evaluation.model), {}).items():
        task = evaluation.task(key)
        if task is None:
            continue
        for metric, value in recalls.items():
            own = task.figures[metric]
            within, measured = own.low * 100 <= value <= own.high * 100, own.value * 100
            differences.append(Difference(task.title, metric, measured, value, within, measured - value))
    if not differences:
        return None
    return Comparison(evaluation.model, benchmark.title, differences, _caveats(evaluation, benchmark, name))


def _caveats(evaluation: Evaluation, benchmark: Benchmark, name: str) -> list[str]:
    caveats = []
    model = name_of(evaluation.model)
    expected = get_model(model).weights.sha256
    if expected and not expected.startswith(fingerprint_of(evaluation.model)):
        caveats.append(f"these are other weights than the published {model}'s")
    if name != benchmark.key:
        caveats.append(f"{name} is another set than {benchmark.title}: the differences tell the order of size, no more")
    if (evaluation.images, evaluation.captions) != (benchmark.images, benchmark.captions):
        caveats.append(
            f"published on {benchmark.images:,} images and {benchmark.captions:,} captions, here "
            f"{evaluation.images:,} and {evaluation.captions:,}: not comparable unless these are equal"
        )
    task = evaluation.task("text_to_image")
    if task is not None and task.queries < evaluation.captions:
        caveats.append("only a sample of the queries was asked (--queries)")
    return caveats
