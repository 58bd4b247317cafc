"""`evaluate`: its formulas are torchmetrics's, its figures are those of the search that users get."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines import Searcher, Settings, run_insert
from pipelines.evaluation import exact, metrics
from pipelines.evaluation.evaluate import evaluate
from pipelines.evaluation.options import EvaluateOptions
from pipelines.towhee_compat import import_torchvision
from tests.support.photos import Photos
from tests.support.program import CommandResult

ROUNDS = 60


def quiet(what: str, total: int) -> Callable[[int], object]:
    return lambda step: None


@pytest.fixture(scope="module")
def judge() -> object:
    import_torchvision()
    return pytest.importorskip("torchmetrics.functional.retrieval")


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
def test_formulas_are_those_of_torchmetrics(ties: bool, judge, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    random = np.random.default_rng(ties)
    for _ in range(ROUNDS):
        rows = int(random.integers(12, 80))
        vectors = random.normal(size=(rows, 6)).astype(np.float32)
        if ties:
            vectors[random.integers(0, rows, rows // 2)] = vectors[0]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        query = random.normal(size=(1, 6)).astype(np.float32)
        right = np.sort(random.choice(rows, int(random.integers(1, rows - 1)), replace=False))
        monkeypatch.setattr(exact, "_SCORES_AT_ONCE", int(random.integers(3, 100)))  # slices of every size
        ranks = exact.ranks_of(query, vectors, [right])[0]

        wanted = np.zeros(rows, bool)
        wanted[right] = True
        # Of equal scores the wrong answers come first here: nobody is credited with a lucky order.
        order = np.lexsort((wanted, -exact.scores_of(query, vectors)[0]))
        places = np.empty(rows, np.float32)
        places[order] = rows - np.arange(rows)
        given = torch.tensor(places), torch.tensor(wanted)
        expected = {f"hit {k}": judge.retrieval_hit_rate(*given, top_k=k) for k in (1, 5, 10)}
        expected |= {f"precision {k}": judge.retrieval_precision(*given, top_k=k) for k in (1, 5, 10)}
        expected |= {"ap": judge.retrieval_average_precision(*given), "rr": judge.retrieval_reciprocal_rank(*given)}
        expected |= {"r-precision": judge.retrieval_r_precision(*given)}
        ours = {f"hit {k}": metrics.recall_at(k, ranks) for k in (1, 5, 10)}
        ours |= {f"precision {k}": metrics.precision_at(k, ranks) for k in (1, 5, 10)}
        ours |= {"ap": metrics.average_precision_at(rows, ranks), "rr": metrics.reciprocal_rank(ranks)}
        ours |= {"r-precision": metrics.r_precision(ranks)}
        assert ours == pytest.approx({name: float(value) for name, value in expected.items()}, abs=1e-6)


def test_class_names_and_captions_are_measured_as_the_search_finds_them(
    settings: Settings, photos: Photos, tmp_path: Path
) -> None:
    run_insert(photos.csv, settings)
    captions = tmp_path / "captions.csv"
    with open(captions, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "caption"], *([n % 12, f"image {n} in colour"] for n in range(24))])
    (found,) = evaluate(settings, EvaluateOptions(captions=str(captions)), quiet)
    searcher = Searcher(settings)
    first = [searcher.by_text(f"a photo of a label{n}", 1).hits[0].fields["label"] == f"label{n}" for n in range(3)]
    own = [searcher.by_text(f"image {n} in colour", 5).hits for n in range(24)]
    among = [n % 12 in {hit.id for hit in hits} for n, hits in enumerate(own)]

    def figure(task: str, name: str) -> float:
        measured = found.task(task)
        assert measured is not None
        return measured.figures[name].value

    assert {task.key for task in found.tasks} >= {"text_to_image", "image_to_text"}
    by_class = next(task for task in found.tasks if "class" in task.title.lower() and task.queries == 3)
    assert by_class.figures["recall@1"].value == pytest.approx(np.mean(first))
    assert figure("text_to_image", "recall@5") == pytest.approx(np.mean(among))
    assert found.index.recall.value == pytest.approx(1)
    assert (found.images, found.classes, found.captions) == (12, 3, 24)


def test_the_command_prints_a_table_and_json(
    photos: Photos, tmp_path: Path, command: Callable[..., CommandResult]
) -> None:
    place = tmp_path / "search.db"
    assert command("insert", photos.csv, "--uri", place, "--model", "builtin").status == 0
    shown = command("evaluate", "--uri", place)
    assert shown.status == 0, shown.err
    assert "recall@10" in shown.out
    values = json.loads(command("evaluate", "--uri", place, "--json").out)
    assert values["evaluations"][0]["images"] == 12
    wrong = command("evaluate", "--uri", place, "--compare", "nothing")
    assert (wrong.status, wrong.err.count("\n")) == (2, 1)
    assert "no model named 'nothing'" in wrong.err
