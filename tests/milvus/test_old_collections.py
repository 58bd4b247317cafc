"""Collections that version 0.1 made (`collections/version-0.1.tar.gz`) can be searched and inserted into."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from pipelines import Searcher, Settings, run_insert
from pipelines.errors import ModelMismatch
from pipelines.milvus.connection import close_all
from pipelines.models.clip import load_model
from pipelines.query import Query
from tests.support.insert import all_rows, collection_of, did, vectors
from tests.support.models import write_turned_builtin
from tests.support.old_collections import DATA, WRITTEN_AT, write_random_vit

SOURCES = {"csv": "images/photos.csv", "folder": "images"}


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Unpack the collections, and place the images at the absolute paths and with the times that their rows hold."""
    with FileLock(f"{WRITTEN_AT}.lock"):  # one folder for all test runs on this machine
        shutil.rmtree(WRITTEN_AT, ignore_errors=True)  # a killed run may have left it
        try:
            with tarfile.open(DATA / "version-0.1.tar.gz") as archive:
                archive.extractall(WRITTEN_AT, filter="data")
            shutil.copytree(DATA / "images", WRITTEN_AT / "images")
            for path in (WRITTEN_AT / "images").rglob("*"):
                os.utime(path, (1_700_000_000, 1_700_000_000))
            monkeypatch.chdir(WRITTEN_AT)
            yield WRITTEN_AT
        finally:
            close_all()
            shutil.rmtree(WRITTEN_AT)


@pytest.fixture(scope="module")
def random_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the weights that made two of the collections."""
    return write_random_vit(tmp_path_factory.mktemp("weights") / "vit.safetensors")


def check(folder: Path, name: str, settings: Settings) -> None:
    """Check that version 0.1's answer returns, and that runs copy rows into the present schema and take new images."""
    source = SOURCES[name.rpartition("_")[2]]
    expected = json.loads((folder / f"{name}.json").read_text())
    hits = Searcher(settings).by_text("a beach").hits
    assert [hit.score for hit in hits] == pytest.approx([hit.pop("score") for hit in expected], abs=2e-3)
    assert [
        {"rank": hit.rank, "id": hit.id, "path": hit.path}
        | {"column_score" if column == "score" else column: value for column, value in hit.fields.items()}
        for hit in hits
    ] == expected
    listed = Searcher(settings).search(Query(order="path", limit=5))
    assert {hit.id: hit.fields for hit in listed.hits} == {hit.id: hit.fields for hit in hits}
    assert (listed.total, Searcher(settings).facets().total) == (5, 5)
    first = run_insert(source, settings)
    assert (did(first), first.copied) == ({"unchanged": 5}, 5)
    assert run_insert(source, settings).copied == 0

    shutil.copy("images/five.webp", "images/beach/two.jpg")  # edited: now a copy of another image
    if source == "images":
        shutil.copy("images/city/four.png", "images/new.png")
        assert did(run_insert(source, settings)) == {"deduplicated": 2, "unchanged": 4}
    else:
        with open(source, "a", encoding="utf-8") as file:
            file.write("77,city/four.png,new,2023,0.25,true,\n")
        assert did(run_insert(source, settings)) == {"deduplicated": 2, "unchanged": 4}
    assert did(run_insert(source, settings)) == {"unchanged": 6}
    assert len(Searcher(settings).by_text("a beach", limit=10).hits) == 6


@pytest.mark.long
@pytest.mark.parametrize("name", ["builtin_csv", "builtin_folder"])
def test_a_collection_of_builtin_is_searched_and_inserted_into(old: Path, name: str) -> None:
    check(old, name, Settings(uri=f"{name}.db"))


def test_a_collection_gets_what_the_files_tell_without_an_embedding(old: Path) -> None:
    settings = Settings(uri="builtin_folder.db")
    before = vectors(settings)
    summary = run_insert(SOURCES["folder"], settings, metadata=True)
    assert (did(summary), summary.copied, summary.read["width"]) == ({"metadata_updated": 5}, 5, 5)
    assert all(np.array_equal(before[key], vector) for key, vector in vectors(settings).items())
    hits = Searcher(settings).by_text("a beach", filter="width > 0 and modified >= 2023").hits
    assert len(hits) == 5


@pytest.mark.long
def test_the_recipe_of_a_models_folder_is_written_into_rows_that_lack_one(old: Path) -> None:
    folder = write_turned_builtin(old / "mine", turns=0)
    settings = Settings(uri="builtin_csv.db", model=folder)
    without = load_model(folder).model_id.rpartition("-")[0]
    rows = [{**row, "_model": without} for row in all_rows(settings).values()]
    collection_of(settings).client.upsert(settings.collection, rows)
    first = run_insert(SOURCES["csv"], settings)
    assert (did(first), first.copied) == ({"unchanged": 5}, 5)
    assert collection_of(settings).model() == load_model(folder).model_id
    card = old / "mine" / "model.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "mean": [0.5, 0.5, 0.5]}))
    load_model.cache_clear()
    with pytest.raises(ModelMismatch, match=r"its model\.json was edited since"):
        run_insert(SOURCES["csv"], settings)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_csv", "vit_folder"])
def test_a_collection_of_other_weights_is_searched_and_inserted_into(old: Path, name: str, random_vit: Path) -> None:
    check(old, name, Settings(uri=f"{name}.db", weights=str(random_vit)))
