"""Ids of a CSV that are texts are stored, shown, searched, filtered and exported as they are given."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from pipelines import Searcher, Settings, run_insert
from pipelines.errors import InputError, UnknownImage
from pipelines.query import Query, parse_query
from pipelines.search.results import to_csv, to_json
from tests.support.insert import all_rows, did, read_rejects
from tests.support.photos import Photos, write_csv

IDS = ["SKU-1", "007", "42", "c2c1e7f0-0000-4000-8000-000000000000", 'a "b" c']


@pytest.fixture(scope="module")
def searcher(module_settings: Settings, module_photos: Photos) -> Searcher:
    """Index five photographs with these ids, and return a searcher."""
    rows = list(zip(IDS, module_photos.paths, strict=False))
    table = write_csv(module_photos.folder / "skus.csv", ["id", "path"], rows)
    assert did(run_insert(table, module_settings, metadata=False)) == {"inserted": 5}
    assert did(run_insert(table, module_settings)) == {"unchanged": 5}
    return Searcher(module_settings)


def test_texts_are_shown_searched_filtered_and_exported(searcher: Searcher, module_photos: Photos) -> None:
    shown = {IDS[0], IDS[1], 42, IDS[3], IDS[4]}
    hits = searcher.by_text("red", 10).hits
    assert {hit.id for hit in hits} == shown
    assert {record["id"] for record in json.loads(to_json(hits))} == shown
    assert {row["id"] for row in csv.DictReader(io.StringIO(to_csv(hits, [])))} == set(IDS)
    for name, path in zip(IDS, module_photos.paths, strict=False):
        found = searcher.get(name)
        assert found is not None
        assert (str(found.id), found.path) == (name, str(path))
        assert len(searcher.similar_to(name, 10).hits) == 4
    line = 'id:SKU-1 -0.5*id:007 id:"a \\"b\\" c"'
    assert {str(hit.id) for hit in searcher.search(Query(parse_query(line))).hits} == {IDS[2], IDS[3]}
    with pytest.raises(UnknownImage, match="no image with id SKU-2"):
        searcher.similar_to("SKU-2")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('id == "SKU-1"', {"SKU-1"}),
        ('id != "SKU-1"', {"007", 42, IDS[3], IDS[4]}),
        ('id in ["SKU-1", "007", 42]', {"SKU-1", "007", 42}),
        ('not id in ["SKU-1", "007", 42]', {IDS[3], IDS[4]}),
        ('id startswith "SKU"', {"SKU-1"}),
        ("id == 7", set()),
        ("id > 0", {42}),
        ("not (id > 50)", {42}),
    ],
)
def test_filters_take_texts_as_ids(searcher: Searcher, text: str, found: set[int | str]) -> None:
    assert {hit.id for hit in searcher.by_text("red", 10, filter=text).hits} == found


def test_texts_have_no_order(searcher: Searcher) -> None:
    with pytest.raises(InputError, match="no order"):
        searcher.by_text("red", filter='id < "SKU-1"')


def test_rejected_rows_are_listed_and_tried_again_under_their_texts(
    lite: Settings, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = photos.paths[0].read_bytes()
    photos.paths[0].write_bytes(b"no image")
    table = write_csv(photos.folder / "skus.csv", ["id", "path"], [["007", photos.paths[0]], ["8", photos.paths[1]]])
    run_insert(table, lite)
    assert [row["id"] for row in read_rejects(Path("rejected.csv"))] == ["007"]
    photos.paths[0].write_bytes(data)
    table.rename(photos.folder / "away.csv")
    run_insert("rejected.csv", lite)
    assert sorted(str(row["_key"]) for row in all_rows(lite).values()) == ["", "007"]
