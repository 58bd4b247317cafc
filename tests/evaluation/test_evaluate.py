"""`evaluate` measures what the search returns, for the stored labels, for CSVs and for other models."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines import Searcher, Settings, run_insert
from pipelines.errors import InputError
from pipelines.evaluation.evaluate import evaluate
from pipelines.evaluation.options import EvaluateOptions
from pipelines.evaluation.report import Report
from pipelines.models import registry, text_models
from pipelines.models.registry import BUILTIN
from tests.support import families
from tests.support.models import VIT, random_network, save, spec_of
from tests.support.photos import Photos, write_csv
from tests.support.program import CommandResult

NASTY = "<script>alert(1)</script>\"'&"


@pytest.mark.long
def test_class_names_and_captions_are_measured_as_the_search_finds_them(
    settings: Settings, photos: Photos, tmp_path: Path
) -> None:
    run_insert(photos.csv, settings)
    captions = tmp_path / "captions.csv"
    with open(captions, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "caption"], *([n % 12, f"image {n} in colour"] for n in range(24))])
    (found,) = evaluate(settings, EvaluateOptions(captions=str(captions)))
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
    photos: Photos, tmp_path: Path, quick_command: Callable[..., CommandResult]
) -> None:
    place = tmp_path / "search.db"
    assert quick_command("insert", photos.csv, "--uri", place, "--model", "builtin").status == 0
    shown = quick_command("evaluate", "--uri", place)
    assert shown.status == 0, shown.err
    assert "recall@10" in shown.out
    values = json.loads(quick_command("evaluate", "--uri", place, "--json").out)
    assert values["evaluations"][0]["images"] == 12
    wrong = quick_command("evaluate", "--uri", place, "--compare", "nothing")
    assert (wrong.status, wrong.err.count("\n")) == (2, 1)
    assert "no model named 'nothing'" in wrong.err


@pytest.mark.long
def test_labels_and_captions_are_read_from_csvs_by_id_and_by_path(
    settings: Settings, photos: Photos, tmp_path: Path
) -> None:
    bare = write_csv(tmp_path / "bare.csv", ["id", "path"], [[n, path] for n, path in enumerate(photos.paths)])
    run_insert(bare, settings)
    (alone,) = evaluate(settings, EvaluateOptions())
    assert not alone.tasks
    assert "only the index is measured" in alone.notes[0]
    by_path = write_csv(
        tmp_path / "labels.csv", ["path", "kind"],
        [*([f"photos/{path.name}", f"kind_{n % 2}"] for n, path in enumerate(photos.paths)), ["photos/no.jpg", "x"]],
    )  # fmt: skip
    by_id = write_csv(tmp_path / "captions.csv", ["id", "caption"], [[n // 2, f"words {n}"] for n in range(24)])
    options = EvaluateOptions(labels=str(by_path), label_column="kind", captions=str(by_id), templates="openai")
    (found,) = evaluate(settings, options)
    assert (found.classes, found.captions, found.templates) == (2, 24, 80)
    assert found.task("labels").queries == 2  # type: ignore[union-attr]
    assert (found.task("text_to_image").queries, found.task("image_to_text").queries) == (24, 12)  # type: ignore[union-attr]
    assert "rows about images the collection lacks: 1 of 13" in found.notes[0]
    nothing = write_csv(tmp_path / "other.csv", ["id", "caption"], [[900, "words"]])
    with pytest.raises(InputError, match="none of its rows is about an image"):
        evaluate(settings, EvaluateOptions(captions=str(nothing)))


@pytest.mark.long
def test_another_model_is_measured_on_the_same_images_and_compared_with_published_figures(
    lite: Settings, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other model has random weights and a small size, and lies in the cache under a published model's name."""
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
    own, other = evaluate(dataclasses.replace(lite, runtime="pytorch"), options)
    assert (own.model.split("@")[0], other.model.split("@")[0]) == ("builtin", name)
    assert [task.key for task in own.tasks] == [task.key for task in other.tasks]
    assert other.images == 12
    report = Report([own, other], "flickr8k")
    (beside,) = report.comparisons
    first = beside.differences[0]
    assert first.published == 58.78
    assert first.points == pytest.approx(other.task("text_to_image").figures["recall@1"].value * 100 - 58.78)  # type: ignore[union-attr]
    (published,) = json.loads(report.as_json())["published"]
    assert published["differences"][0]["points"] == pytest.approx(first.points, abs=0.01)
    text = report.as_text()
    for words in ("other weights", "another set", "published on 1,000 images and 5,000 captions, here 12 and 12"):
        assert words in text
    photos.paths[0].unlink()
    own_model = dataclasses.replace(own, model="/home/someone/my-model@0123456789ab")
    for told in (Report([own_model]).as_text(), Report([own_model]).as_html()):
        assert "my-model@0123456789ab" in told
        assert "/home/someone" not in told, "a model in a folder is shown by the name of the folder"
    page = report.as_html()
    assert "points apart" in page
    assert "another set" in page
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    assert 'class="gone"' in page  # the image that is gone


@pytest.mark.long
def test_captions_and_labels_in_several_languages_stand_side_by_side(
    lite: Settings, photos: Photos, tmp_path: Path
) -> None:
    """Each text is searched for as a search in its language does."""
    kinds = [("dog", "Hund"), ("cat", "Katze"), ("beach", "Strand")]
    rows = [[n, path, *kinds[n % 3]] for n, path in enumerate(photos.paths)]
    table = write_csv(tmp_path / "all.csv", ["id", "path", "kind", "kind_de"], rows)
    run_insert(table, lite)
    words = [[n, f"a {kinds[n % 3][0]} in the snow", f"ein {kinds[n % 3][1]} im Schnee"] for n in range(12)]
    captions = write_csv(tmp_path / "captions.csv", ["id", "caption", "caption_de"], words)
    options = EvaluateOptions(captions=str(captions), text_columns=("en=caption,de=caption_de",))
    english, german = evaluate(lite, options)
    assert [found.title.rpartition(" in ")[2] for found in (english, german)] == ["en", "de"]
    searcher = Searcher(lite)
    for found, column in ((english, 1), (german, 2)):
        hits = [searcher.by_text(row[column], 5).hits for row in words]
        among = [row[0] in {hit.id for hit in own} for row, own in zip(words, hits, strict=True)]
        assert found.task("text_to_image").figures["recall@5"].value == pytest.approx(np.mean(among))  # type: ignore[union-attr]
    assert " in de" in Report([english, german]).as_text()
    by_name = evaluate(lite, EvaluateOptions(text_columns=("en=kind", "de=kind_de"), templates="{}"))
    assert [found.classes for found in by_name] == [3, 3]
    one, other = (found.task("labels").figures["mAP@10"].value for found in by_name)  # type: ignore[union-attr]
    assert one == pytest.approx(other)  # everyday words are translated
    for wrong, message in (("de", "LANGUAGE=COLUMN"), ("xx=kind", "languages are"), ("de=none", "no column 'none'")):
        with pytest.raises(InputError, match=message):
            evaluate(lite, EvaluateOptions(captions=str(captions), text_columns=(wrong,)))


@pytest.mark.long
def test_the_own_model_is_measured_in_another_precision(lite: Settings, photos: Photos) -> None:
    run_insert(photos.csv, dataclasses.replace(lite, precision="fp32"))
    options = EvaluateOptions(compare=("builtin",))
    assert len(evaluate(lite, options)) == 1
    own, other = evaluate(dataclasses.replace(lite, precision="bf16"), options)
    assert (own.model, other.collection) == (other.model, "temporary (builtin, bf16)")
    assert [task.key for task in own.tasks] == [task.key for task in other.tasks]


@pytest.mark.usefixtures("torchvision")
def test_text_models_are_compared_on_the_collection_itself(
    lite: Settings, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text").mkdir()
    spec = families.multilingual_clip(tmp_path / "text", dim=256).spec
    small = dataclasses.replace(spec, name="small-text", fits=("builtin",))
    monkeypatch.setattr(text_models, "_TEXT_MODELS", (*text_models._TEXT_MODELS, small))
    run_insert(photos.csv, lite)
    own, other = evaluate(lite, EvaluateOptions(compare=("small-text",)))
    assert (own.model, own.collection) == (other.model, other.collection)
    assert other.title == f"{own.title} by small-text"
    assert own.task("labels").figures != other.task("labels").figures  # type: ignore[union-attr]
    with pytest.raises(InputError, match="for builtin there are small-text"):
        evaluate(lite, EvaluateOptions(compare=("XLM-Roberta-Large-Vit-L-14",)))
