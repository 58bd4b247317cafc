"""Searching, on Milvus Lite and on a server: by text, by image, by a stored image, with filters."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pipelines import Searcher, Settings, run_insert
from pipelines.errors import CollectionNotFound, InputError, ModelMismatch
from pipelines.milvus.literals import text_literal
from tests.support.insert import collection_of
from tests.support.photos import Photos, draw_images, write_csv


@pytest.fixture(scope="module")
def searcher(module_settings: Settings, module_photos: Photos) -> Searcher:
    run_insert(module_photos.csv, module_settings)
    return Searcher(module_settings)


def test_text_finds_images_ranked_by_cosine(searcher: Searcher, module_photos: Photos) -> None:
    hits = searcher.by_text("a white dog", limit=5).hits
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(-1 <= hit.score <= 1 for hit in hits)
    assert hits[0].path == str(module_photos.paths[hits[0].id])
    assert hits[0].fields.items() >= {"label": f"label{hits[0].id % 3}", "year": 2010 + hits[0].id}.items()


def test_an_image_finds_itself_first(searcher: Searcher, module_photos: Photos) -> None:
    for number, path in enumerate(module_photos.paths):
        best = searcher.by_image(path, limit=1).hits[0]
        assert best.id == number
        assert best.score > 0.999


def test_an_image_can_be_given_as_bytes(searcher: Searcher, module_photos: Photos) -> None:
    assert searcher.by_image(module_photos.paths[2].read_bytes(), limit=1).hits[0].id == 2


def test_similar_images_leave_out_the_image_itself(searcher: Searcher, module_photos: Photos) -> None:
    similar = searcher.similar_to(4, limit=11).hits
    by_image = searcher.by_image(module_photos.paths[4], limit=12).hits
    assert sorted(hit.id for hit in similar) == [number for number in range(12) if number != 4]
    assert similar[0].score == pytest.approx(by_image[1].score, abs=1e-3)


def test_filters_apply_to_every_kind_of_query(searcher: Searcher, module_photos: Photos) -> None:
    wanted = "label == 'label1' and year >= 2014"
    expected = {number for number in range(12) if number % 3 == 1 and number >= 4}
    assert {hit.id for hit in searcher.by_text("dog", 12, wanted).hits} == expected
    assert {hit.id for hit in searcher.by_image(module_photos.paths[0], 12, wanted).hits} == expected
    assert {hit.id for hit in searcher.similar_to(4, 12, "year < 2012 or label == 'label1'").hits} == {0, 1, 7, 10}


@pytest.mark.parametrize("text", ["label = 3", "lable == 'x'", "year >", "))"])
def test_a_bad_filter_is_one_clear_line(searcher: Searcher, text: str) -> None:
    with pytest.raises(InputError, match=r"^filter, character \d+: ") as error:
        searcher.by_text("dog", 3, text)
    assert "\n" not in str(error.value)


def test_bad_queries_say_what_is_wrong(searcher: Searcher, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="some words"):
        searcher.by_text("  ")
    with pytest.raises(InputError, match="the image cannot be searched for: markup"):
        searcher.by_image(b"<html>")
    with pytest.raises(InputError, match=r"nothing\.jpg cannot be searched for: no such file"):
        searcher.by_image(tmp_path / "nothing.jpg")
    with pytest.raises(InputError, match="no image with id 777"):
        searcher.similar_to(777)
    with pytest.raises(InputError, match="only the first 16384 hits"):
        searcher.by_text("dog", 20_000)


def test_odd_texts_are_searched_like_any_other(searcher: Searcher) -> None:
    for text in ("狗", "🐶", "dog " * 500, "<b>&amp;", "\x00\x07", "'; drop table"):
        assert len(searcher.by_text(text, 3).hits) == 3


def test_get(searcher: Searcher, module_photos: Photos) -> None:
    hit = searcher.get(5)
    assert hit is not None
    assert (hit.path, hit.fields["label"], hit.fields["year"]) == (str(module_photos.paths[5]), "label2", 2015)
    assert searcher.get(12345) is None


def test_info_tells_model_index_and_fields(searcher: Searcher) -> None:
    info = searcher.info()
    assert (info.rows, info.dim, info.index.metric) == (12, 256, "COSINE")
    assert info.model.startswith("builtin@")
    assert info.index.type in ("FLAT", "HNSW")
    assert {field.name: field.type.value for field in info.fields if not field.from_file} == {
        "label": "text", "year": "int",
    }  # fmt: skip


def test_the_collections_model_is_used_when_none_is_named(searcher: Searcher) -> None:
    settings = searcher.settings
    found = Searcher(Settings(uri=settings.uri, collection=settings.collection))
    assert found.settings.model == "builtin"


def test_another_models_embeddings_are_not_searched(settings: Settings, photos: Photos) -> None:
    run_insert(photos.csv, settings)
    collection = collection_of(settings)
    rows = collection.get(list(range(12)), ["*", "embedding"])
    collection.upsert({**row, "_model": "clip_vit_base_patch32@abc"} for row in rows.values())
    with pytest.raises(ModelMismatch, match=r"made by clip_vit_base_patch32@abc, this is builtin: .*--model clip_vit"):
        Searcher(settings)


def test_a_missing_collection_is_named(tmp_path: Path) -> None:
    uri = str(tmp_path / "none.db")
    with pytest.raises(CollectionNotFound, match="there is no collection 'images'") as error:
        Searcher(Settings(uri=uri, model="builtin"))
    assert (error.value.uri, error.value.collection) == (uri, "images")
    assert not (tmp_path / "none.db").exists()


def test_an_empty_collection_is_not_searched(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    for path in photos.paths:
        path.write_bytes(b"no image")
    run_insert(photos.csv, lite, rejects=str(tmp_path / "rejected.csv"))
    with pytest.raises(CollectionNotFound, match="'images' is empty"):
        Searcher(lite)


def test_hostile_labels_are_found_by_their_literal(lite: Settings, tmp_path: Path) -> None:
    labels = ['a "quoted" one', "it's", "back\\slash", "new\nline", "tab\tone", "<img src=x>", "é日"]
    labels.append('" or id >= 0 or "')
    paths = draw_images(tmp_path / "p", len(labels))
    table = write_csv(tmp_path / "l.csv", ["path", "label"], list(zip(paths, labels, strict=True)))
    run_insert(table, lite)
    searcher = Searcher(lite)
    for label in labels:
        hits = searcher.by_text("x", 20, f"label == {text_literal(label)}").hits
        assert [hit.fields["label"] for hit in hits] == [label]


@pytest.mark.long
def test_many_threads_get_their_own_answers(lite: Settings, photos: Photos) -> None:
    run_insert(photos.csv, lite)
    searcher = Searcher(lite)
    wrong: list[int] = []

    def ask(number: int) -> None:
        for _ in range(5):
            if searcher.by_image(photos.paths[number], 1).hits[0].id != number:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.long
def test_large_lite_collections_change_to_an_exact_faster_index(lite: Settings, tmp_path: Path) -> None:
    """6,000 rows get an IVF_FLAT that probes all its lists, and a selective filter still gets all its hits."""
    paths = draw_images(tmp_path / "p", 60)
    rows = [[number, paths[number % 60], number % 500] for number in range(6000)]
    run_insert(write_csv(tmp_path / "l.csv", ["id", "path", "part"], rows), lite)
    searcher = Searcher(lite)
    assert searcher.info().index.type == "IVF_FLAT"
    hits = searcher.by_image(paths[30], 50, "part == 30").hits
    assert {hit.id for hit in hits} == set(range(30, 6000, 500))
    assert searcher.by_image(paths[30], 1).hits[0].score > 0.999


@pytest.mark.long
def test_a_collection_whose_index_is_gone_gets_one_again(lite: Settings, photos: Photos) -> None:
    """A run that is killed while it replaces the index leaves none."""
    run_insert(photos.csv, lite)
    collection = Searcher(lite).collection
    collection.client.release_collection(lite.collection)
    collection.client.drop_index(lite.collection, "embedding")
    assert Searcher(lite).by_image(photos.paths[3], 1).hits[0].id == 3
    assert collection.client.list_indexes(lite.collection)


@pytest.mark.long
def test_1000_photographs_are_indexed_and_searched(lite: Settings, shared_csv: Path) -> None:
    """A second run changes nothing, and each of 100 test images finds ten photographs with label and path."""
    assert run_insert(shared_csv, lite).inserted == 1000
    assert run_insert(shared_csv, lite).unchanged == 1000
    searcher = Searcher(lite)
    assert searcher.info().rows == 1000
    images = sorted((shared_csv.parent / "test").glob("*/*"))
    assert len(images) == 100
    for image in images:
        hits = searcher.by_image(image, 10).hits
        assert len(hits) == 10
        assert all(hit.fields["label"] and Path(hit.path).is_file() for hit in hits)
