"""A searcher that outlives what it searches: its collection is replaced, dropped, re-embedded or re-indexed."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import Searcher, Settings, run_insert
from pipelines.errors import CollectionNotFound, ModelMismatch
from pipelines.milvus.collection import Collection
from pipelines.milvus.connection import close
from pipelines.milvus.index import Index
from pipelines.search.opened import Opened
from tests.support.models import write_turned_builtin
from tests.support.photos import Photos, write_csv
from tests.support.program import run_code

AT_MOST = 30.0  # seconds until a change is noticed: about one, but other tests share the cores


def soon(check: Callable[[], bool]) -> bool:
    end = time.monotonic() + AT_MOST
    while not (done := check()) and time.monotonic() < end:
        time.sleep(0.05)
    return done


@pytest.fixture
def free(settings: Settings, photos: Photos) -> Settings:
    """Make a collection of `builtin`; return settings that take the collection's own model."""
    run_insert(photos.csv, settings)
    return replace(settings, model="")


@pytest.mark.long
def test_a_collection_embedded_by_another_model_is_searched_with_that_model(
    free: Settings, photos: Photos, tmp_path: Path
) -> None:
    searcher = Searcher(free)
    before = searcher.by_text("a dog", 12).hits
    turned = write_turned_builtin(tmp_path / "turned")
    run_insert(photos.csv, replace(free, model=turned), reembed=True)
    searcher.probe()  # it opens the new collection by itself
    for _ in range(3):
        after = searcher.by_text("a dog", 12).hits
        assert [(hit.id, round(hit.score, 2)) for hit in after] == [(hit.id, round(hit.score, 2)) for hit in before]
    assert soon(lambda: searcher.settings.model == turned)
    assert searcher.info().model.startswith(turned)
    write_turned_builtin(tmp_path / "turned", 7)  # retrained, in the same folder
    run_insert(photos.csv, replace(free, model=turned), reembed=True)
    assert [hit.id for hit in searcher.by_text("a dog", 12).hits] == [hit.id for hit in before]
    assert searcher.by_image(photos.paths[3], 1).hits[0].id == 3


@pytest.mark.long
def test_a_model_that_was_named_and_no_longer_fits_is_one_line(
    settings: Settings, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_insert(photos.csv, settings)
    searcher = Searcher(settings)
    turned = write_turned_builtin(tmp_path / "turned")
    run_insert(photos.csv, replace(settings, model=turned), reembed=True)
    for ask in (searcher.probe, lambda: searcher.by_text("a dog"), lambda: searcher.similar_to(3)):
        with pytest.raises(
            ModelMismatch, match=rf"made by {turned}@\S+, this is builtin: search with --model"
        ) as error:
            ask()
        assert "\n" not in str(error.value)
    openings: list[Settings] = []
    monkeypatch.setattr("pipelines.search.searcher.Opened", lambda *given: openings.append(given[0]) or Opened(*given))
    for _ in range(3):  # the answer is remembered until the collection changes
        with pytest.raises(ModelMismatch):
            searcher.by_text("a dog")
    assert openings == []
    run_insert(photos.csv, settings, reembed=True)
    assert soon(lambda: searcher.settings.model == "builtin")
    assert searcher.by_image(photos.paths[3], 1).hits[0].id == 3


@pytest.mark.long
def test_searches_during_a_reembedding_never_mix_models(free: Settings, photos: Photos, tmp_path: Path) -> None:
    """The score of an image with itself is 1 under either model, and about 0 between them."""
    searcher, stop = Searcher(free), threading.Event()
    worst: list[float] = []

    def ask(number: int) -> None:
        while not stop.is_set():
            hits = searcher.by_image(photos.paths[number], 1).hits
            worst.append(hits[0].score if hits[0].id == number else -1.0)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for turns in (1, 2):
        model = write_turned_builtin(tmp_path / f"turned{turns}", turns)
        run_insert(photos.csv, replace(free, model=model), reembed=True)
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert len(worst) > 10
    assert min(worst) > 0.99


def test_rows_of_another_model_in_the_same_collection_are_never_compared(free: Settings, photos: Photos) -> None:
    searcher = Searcher(free)
    searcher.by_text("a dog")
    rows = searcher.collection.get(list(range(12)), ["*", "embedding"])
    searcher.collection.upsert({**row, "_model": "other@123"} for row in list(rows.values())[6:])
    searcher.collection.flush()
    for ask in (lambda: searcher.by_text("a dog", 12), lambda: searcher.similar_to(11)):
        with pytest.raises(ModelMismatch, match=r"holds images of (other@123|builtin@.*) beside those of .*--reembed"):
            ask()


@pytest.mark.long
def test_a_dropped_collection_is_told_and_found_again(free: Settings, photos: Photos) -> None:
    searcher = Searcher(free)
    Collection(free.uri, free.collection).drop()

    def is_told() -> bool:
        try:
            searcher.by_text("a dog")
        except CollectionNotFound:
            return True
        return False

    assert soon(is_told)
    few = write_csv(photos.folder / "few.csv", ["id", "path", "colour"], [[7, photos.paths[7], "red"]])
    run_insert(few, replace(free, model="builtin"), metadata=False)
    (hit,) = searcher.by_text("a dog").hits
    assert (hit.id, hit.fields) == (7, {"colour": "red"})
    assert searcher.field_names == ["colour"]
    assert searcher.by_text("a dog", filter='colour == "red"').hits


def test_another_index_is_noticed(free: Settings) -> None:
    searcher = Searcher(free)
    other = "IVF_FLAT" if searcher.is_lite else "FLAT"
    Collection(free.uri, free.collection).optimize(Index(other, "L2"))
    assert soon(lambda: searcher.info().index.metric == "L2")
    assert searcher.similar_to(3, 3).hits[0].score <= 1
    assert len(searcher.by_text("a dog", 12).hits) == 12


def test_a_file_that_was_deleted_and_made_anew_is_opened_again(lite: Settings, photos: Photos) -> None:
    run_insert(photos.csv, lite)
    searcher = Searcher(lite)
    searcher.by_text("a dog")
    shutil.rmtree(lite.uri)
    with pytest.raises(CollectionNotFound, match="there is no collection 'images'"):
        searcher.by_text("a dog")
    few = write_csv(photos.folder / "few.csv", ["id", "path"], [[40, photos.paths[7]]])
    made = run_code(
        "import sys; from pipelines import *; run_insert(sys.argv[1], Settings(uri=sys.argv[2], model='builtin'))",
        few, lite.uri,
    )  # fmt: skip
    assert made.status == 0, made.err
    assert [hit.id for hit in searcher.by_text("a dog").hits] == [40]
    close(lite.uri)


def test_looking_after_a_file_costs_no_time(lite: Settings, photos: Photos) -> None:
    run_insert(photos.csv, lite)
    searcher = Searcher(lite)
    seconds = []
    for _ in range(1000):
        start = time.perf_counter()
        assert searcher.field_names
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.0002
