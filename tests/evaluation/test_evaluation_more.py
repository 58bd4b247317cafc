"""`evaluate`: other truths than the stored labels, other models, published figures, and the page it writes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines import Settings, run_insert
from pipelines.errors import InputError
from pipelines.evaluation import metrics
from pipelines.evaluation.evaluate import evaluate
from pipelines.evaluation.ground_truth import Caption, Truth
from pipelines.evaluation.html_report.chart import class_chart, cut
from pipelines.evaluation.html_report.page import render_page
from pipelines.evaluation.options import EvaluateOptions
from pipelines.evaluation.prompts import OPENAI, unit
from pipelines.evaluation.published import COCO, FLICKR30K, compare_all
from pipelines.evaluation.report_file import ReportFile
from pipelines.evaluation.report_text import render
from pipelines.evaluation.results import Task
from pipelines.evaluation.stored import read_stored
from pipelines.evaluation.tasks import Sampling, caption_tasks, same_class
from pipelines.milvus.collection import Collection
from pipelines.models import registry
from pipelines.models.registry import BUILTIN, list_models
from tests.support.models import VIT, random_network, save, spec_of
from tests.support.photos import Photos, write_csv
from tests.support.program import CommandResult

NASTY = "<script>alert(1)</script>\"'&"


def quiet(what: str, total: int) -> Callable[[int], object]:
    return lambda step: None


def test_interval_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(1).random(200) ** 2
    ours = metrics.estimate(values)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=4000, rng=2).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)
    assert ours.value == pytest.approx(values.mean())


def test_average_precision_at_ten_is_the_formula_written_out() -> None:
    """torchmetrics divides by the right answers found, not by those there are: here Σ precision@r / min(10, R)."""
    random = np.random.default_rng(4)
    for _ in range(200):
        ranks = np.sort(random.choice(60, int(random.integers(1, 30)), replace=False) + 1)
        relevant = [rank in ranks for rank in range(1, 11)]
        expected = sum(sum(relevant[:rank]) / rank for rank in range(1, 11) if relevant[rank - 1]) / min(10, len(ranks))
        assert metrics.average_precision_at(10, ranks) == pytest.approx(expected)


def test_the_order_of_inserting_changes_no_figure(settings: Settings, tmp_path: Path) -> None:
    """Neither a mean nor an interval, nor which queries are drawn: images are counted by id."""
    random = np.random.default_rng(6)
    vectors, told = unit(random.normal(size=(60, 5))), unit(random.normal(size=(180, 5)))
    truth = Truth({key: f"class {key % 7}" for key in range(60)}, [Caption(n % 60, f"text {n}") for n in range(180)])
    own = {"_hash": "0", "_mtime_ns": 0, "_size": 0, "_model": "m@1", "_source": ""}
    results = []
    for order in (np.arange(60), random.permutation(60)):
        collection = Collection(settings.uri, settings.collection)
        collection.create(5, ())
        for part in np.split(order, 6):
            collection.upsert({"id": int(key), "path": f"{key}", "embedding": vectors[key], **own} for key in part)
        stored = read_stored(collection, tmp_path, "", lambda rows: None)
        collection.drop()
        sampling = Sampling(40, seed=3)
        results.append([*caption_tasks(stored, truth, told, sampling), same_class(stored, truth, sampling)])
    for first, second in zip(*results, strict=True):
        assert first.queries == 40
        assert first.figures == second.figures
        assert first.groups == second.groups


def test_openai_ensemble_has_80_templates() -> None:
    assert len(set(OPENAI)) == len(OPENAI) == 80
    assert all(template.count("{}") == 1 for template in OPENAI)


def test_published_figures_are_the_registrys_models_and_figures() -> None:
    expected = {spec.name: spec.quality for spec in list_models() if spec.quality}
    assert set(FLICKR30K.figures) == set(COCO.figures) == set(expected)
    for name, quality in expected.items():
        assert (FLICKR30K.figures[name][0][0], COCO.figures[name][0][0]) == (quality.flickr, quality.coco)


def test_labels_and_captions_from_csvs_by_id_and_by_path(settings: Settings, photos: Photos, tmp_path: Path) -> None:
    bare = write_csv(tmp_path / "bare.csv", ["id", "path"], [[n, path] for n, path in enumerate(photos.paths)])
    run_insert(bare, settings)
    (alone,) = evaluate(settings, EvaluateOptions(), quiet)
    assert not alone.tasks
    assert "only the index is measured" in alone.notes[0]
    by_path = write_csv(
        tmp_path / "labels.csv", ["path", "kind"],
        [*([f"photos/{path.name}", f"kind_{n % 2}"] for n, path in enumerate(photos.paths)), ["photos/no.jpg", "x"]],
    )  # fmt: skip
    by_id = write_csv(tmp_path / "captions.csv", ["id", "caption"], [[n // 2, f"words {n}"] for n in range(24)])
    options = EvaluateOptions(labels=str(by_path), label_column="kind", captions=str(by_id), templates="openai")
    (found,) = evaluate(settings, options, quiet)
    assert (found.classes, found.captions, found.templates) == (2, 24, 80)
    assert found.task("labels").queries == 2  # type: ignore[union-attr]
    assert (found.task("text_to_image").queries, found.task("image_to_text").queries) == (24, 12)  # type: ignore[union-attr]
    assert "1 of 13 rows are about images the collection lacks" in found.notes[0]
    nothing = write_csv(tmp_path / "other.csv", ["id", "caption"], [[900, "words"]])
    with pytest.raises(InputError, match="none of its rows is about an image"):
        evaluate(settings, EvaluateOptions(captions=str(nothing)), quiet)


def test_another_model_beside_and_the_published_figures(
    lite: Settings, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights of a small size, in the cache under a published model's name."""
    name = "clip_vit_base_patch32"
    cache = tmp_path / "cache"
    cache.mkdir()
    save(random_network(VIT), cache / "tiny.safetensors")
    tiny = dataclasses.replace(spec_of(VIT), name=name)
    tiny = dataclasses.replace(tiny, weights=registry.Weights("tiny.safetensors", sha256="0" * 64))
    monkeypatch.setenv("IMAGE_SEARCH_CACHE", str(cache))
    monkeypatch.setattr(registry, "_MODELS", (BUILTIN, tiny))
    run_insert(photos.csv, lite)
    captions = write_csv(tmp_path / "c.csv", ["id", "caption"], [[n, f"words {NASTY} {n}"] for n in range(12)])
    options = EvaluateOptions(captions=str(captions), compare=("here",), published="flickr8k")
    own, other = evaluate(dataclasses.replace(lite, runtime="pytorch"), options, quiet)
    assert (own.model.split("@")[0], other.model.split("@")[0]) == ("builtin", name)
    assert [task.key for task in own.tasks] == [task.key for task in other.tasks]
    assert other.images == 12
    (beside,) = compare_all([own, other], "flickr8k")
    first = beside.differences[0]
    assert first.published == 58.78
    assert first.points == pytest.approx(other.task("text_to_image").figures["recall@1"].value * 100 - 58.78)  # type: ignore[union-attr]
    assert beside.as_json()["differences"][0]["points"] == pytest.approx(first.points, abs=0.01)
    text = render([own, other], [beside])
    for words in ("other weights", "another set", "published on 1,000 images and 5,000 captions, here 12 and 12"):
        assert words in text
    photos.paths[0].unlink()
    own_model = dataclasses.replace(own, model="/home/someone/my-model@0123456789ab")
    for told in (render([own_model], []), render_page([own_model], "")):
        assert "my-model@0123456789ab" in told
        assert "/home/someone" not in told, "a folder is named by its own name"
    page = render_page([own, other], "flickr8k")
    assert "points apart" in page
    assert "another set" in page
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    assert 'class="gone"' in page  # the image that is no more


def test_report_is_refused_before_measuring_and_written_whole(
    photos: Photos, tmp_path: Path, command: Callable[..., CommandResult]
) -> None:
    place, target = tmp_path / "search.db", tmp_path / "report.html"
    assert command("insert", photos.csv, "--uri", place, "--model", "builtin").status == 0
    done = command("evaluate", "--uri", place, "--report", target, "--runtime", "pytorch")
    assert done.status == 0, done.err
    assert f"report: {target}" in done.err
    page = target.read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    assert "data:image/jpeg;base64," in page
    assert len(page) < 1_000_000
    with pytest.raises(InputError, match="No such file or directory"):
        ReportFile(str(tmp_path / "no" / "r.html"))
    with pytest.raises(InputError, match="it is a folder"):
        ReportFile(str(tmp_path))
    assert not list(tmp_path.glob(".*.part"))


def test_many_classes_fold_and_long_names_are_cut() -> None:
    groups = {f"class {n:04}": n / 2000 for n in range(1500)}
    chart = class_chart([Task("labels", "", 1, 1, {}, groups, [1], [])])
    assert chart.first[0].label == "class 1499"
    assert chart.last[-1].label == "class 0000"
    assert len(chart.first) + len(chart.between) + len(chart.last) + chart.left_out == 1500
    assert len(chart.between) == 500
    assert cut("猫" * 40) == "猫" * 10 + "…"  # 21 columns of 22
    assert cut("a" * 22) == "a" * 22
