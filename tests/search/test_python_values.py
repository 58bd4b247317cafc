"""Values as Python programs have them: NumPy's numbers, `pathlib.Path`, images in memory, forked processes."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import Searcher, Settings, run_insert
from pipelines.errors import InputError, SearchError, UnreadableQuery, WrongType
from pipelines.evaluation.options import EvaluateOptions
from pipelines.milvus.collection import Collection
from pipelines.milvus.connection import close
from pipelines.models.clip import load_model
from pipelines.query import Part, Query
from pipelines.training.options import TrainOptions
from tests.support.photos import Photos
from tests.support.program import run_code


@pytest.fixture
def searcher(lite: Settings, photos: Photos) -> Searcher:
    run_insert(photos.csv, lite)
    return Searcher(lite)


def test_an_image_in_memory_finds_itself(searcher: Searcher, photos: Photos) -> None:
    path = photos.paths[3]
    with Image.open(path) as image:
        array = np.asarray(image.convert("RGB"))
        for query in (image, io.BytesIO(path.read_bytes()), bytearray(path.read_bytes()), array / 255):
            assert searcher.by_image(query, limit=1).hits[0].id == 3


def test_numbers_of_numpy_are_numbers(searcher: Searcher) -> None:
    expected = searcher.similar_to(5, limit=4).hits
    assert searcher.similar_to(np.int64(5), limit=np.int32(4)).hits == expected
    query = Query((Part(id=np.uint8(5), weight=np.float32(2)),), np.int64(2), np.int64(2), min_score=np.float32(-1))
    assert [hit.id for hit in searcher.search(query).hits] == [hit.id for hit in expected[2:]]
    json.dumps([query.limit, query.offset, query.min_score, query.parts[0].id, query.parts[0].weight])


def test_a_value_of_a_wrong_type_is_an_error_of_its_own_in_one_line(searcher: Searcher) -> None:
    with pytest.raises(WrongType, match="an id is a whole number or a text, not float"):
        searcher.similar_to(5.0)  # type: ignore[arg-type]
    with pytest.raises(WrongType, match="the limit is a whole number, not float"):
        searcher.by_text("dog", limit=2.5)  # type: ignore[arg-type]
    with pytest.raises(WrongType, match="the limit is a whole number, not bool"):
        searcher.by_text("dog", limit=True)
    with pytest.raises(WrongType, match="a text to search for is a str, not int"):
        searcher.by_text(5)  # type: ignore[arg-type]
    with pytest.raises(WrongType, match="min_score is a number, not str"):
        Query((Part("dog"),), min_score="0.2")  # type: ignore[arg-type]
    with pytest.raises(WrongType, match="a filter is a str or a Filter, not dict"):
        searcher.by_text("dog", filter={"label": "cat"})  # type: ignore[arg-type]
    with pytest.raises(WrongType, match="search takes a Query, not str: by_text"):
        searcher.search("dog")  # type: ignore[arg-type]
    with pytest.raises(WrongType, match="a Searcher takes Settings, not str"):
        Searcher("search.db")  # type: ignore[arg-type]
    with pytest.raises(UnreadableQuery, match="int is no image"):
        searcher.by_image(5)
    assert issubclass(WrongType, InputError)
    assert issubclass(WrongType, TypeError)


def test_a_path_object_stands_for_any_path(photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.from_env(uri=tmp_path / "a.db", model="builtin")
    run_insert(photos.csv, settings, rejects=tmp_path / "r.csv")  # type: ignore[arg-type]
    assert Searcher(settings).info().rows == Collection(tmp_path / "a.db", "images").count() == 12
    close(tmp_path / "a.db")
    monkeypatch.chdir(tmp_path)
    assert Settings(model=Path("mine")).model == str(tmp_path / "mine")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"no model folder .*/mine"):
        load_model(Path("mine"))
    train = TrainOptions(Path("a.csv"), Path("out"), model=Path("mine"))  # type: ignore[arg-type]
    assert (train.csv, train.out, train.model) == ("a.csv", "out", str(tmp_path / "mine"))
    assert EvaluateOptions(captions=Path("c.csv")).captions == "c.csv"  # type: ignore[arg-type]


def test_a_lite_file_that_was_closed_is_opened_again_where_it_was(
    lite: Settings, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(uri="search.db", model="builtin")
    run_insert(photos.csv, settings)
    collection = Collection(settings.uri, settings.collection)
    assert collection.count() == 12
    close(settings.uri)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert collection.count() == 12


def test_a_closed_searcher_gives_its_file_back_and_others_go_on(
    lite: Settings, photos: Photos, command: Callable
) -> None:
    run_insert(photos.csv, lite)
    other = Searcher(lite)
    with Searcher(lite) as searcher:
        assert searcher.get(np.int64(5)) == other.get(5)
        expected = searcher.by_text("a dog").hits
        assert "open in another process" in command("search", "a dog", "--uri", lite.uri).err
    assert command("search", "a dog", "--uri", lite.uri).status == 0
    with pytest.raises(SearchError, match="this Searcher was closed: make another one"):
        searcher.by_text("a dog")
    with pytest.raises(SearchError, match="closed"):
        searcher.info()
    searcher.close()
    assert [hit.id for hit in other.by_text("a dog").hits] == [hit.id for hit in expected]


FORKING = """
import multiprocessing, os, sys
from pipelines import Searcher, Settings
from pipelines.errors import SearchError

def child(queue, make, settings):
    try:
        searcher = Searcher(settings) if settings else make()
        queue.put(len(searcher.by_text("a dog").hits))
    except SearchError as error:
        queue.put(str(error))

if __name__ == "__main__":
    settings = Settings(uri=sys.argv[1], model="builtin")
    searcher = Searcher(settings)
    searcher.by_text("a dog")
    searcher.by_image(sys.argv[2])
    context = multiprocessing.get_context("fork")
    for given in (None, settings):
        queue = context.Queue()
        process = context.Process(target=child, args=(queue, lambda: searcher, given))
        process.start()
        print("child:", queue.get(timeout=30))
        process.join(30)
    print("parent:", len(searcher.by_text("a dog").hits), flush=True)
    os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_says_that_it_cannot_search_and_the_parent_goes_on(lite: Settings, photos: Photos) -> None:
    run_insert(photos.csv, lite)
    close(lite.uri)
    done = run_code(FORKING, lite.uri, photos.paths[0], timeout=120)
    lines = done.out.splitlines()
    assert [line for line in lines if "multiprocessing.get_context('spawn')" in line] == lines[:2], done.err
    assert lines[2:] == ["parent: 10"]


FORKED_FIRST = """
import os, sys
from pipelines import Settings
from pipelines.search.searcher import Searcher
if os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
print(len(Searcher(Settings(uri=sys.argv[1], model="builtin")).by_text("a dog").hits), flush=True)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_before_anything_was_opened_searches(lite: Settings, photos: Photos) -> None:
    run_insert(photos.csv, lite)
    close(lite.uri)
    assert run_code(FORKED_FIRST, lite.uri, timeout=120).out == "10\n"
