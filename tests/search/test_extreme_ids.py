"""The smallest and the largest id are stored, found, filtered, paged and pruned like any other."""

from __future__ import annotations

import csv
import uuid
from pathlib import Path

import pytest

from pipelines import Searcher, Settings, run_insert
from pipelines.errors import InputError
from pipelines.milvus.lite import is_lite
from pipelines.query import Part, Query
from tests.support.photos import Photos, write_csv

LARGEST = 2**63 - 1


@pytest.fixture
def ids(settings: Settings) -> list[int]:
    """Return the two smallest ids, 0, and the largest id that can be stored."""
    return [-(2**63), 1 - 2**63, 0, LARGEST - (not is_lite(settings.uri))]


@pytest.fixture
def table(ids: list[int], photos: Photos, tmp_path: Path) -> Path:
    path = tmp_path / "photos.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "path"), *zip(ids, photos.paths, strict=False)])
    return path


def test_the_smallest_and_largest_ids_are_stored_found_filtered_and_paged(
    settings: Settings, table: Path, ids: list[int]
) -> None:
    assert run_insert(table, settings).inserted == 4
    assert run_insert(table, settings).unchanged == 4
    with Searcher(settings) as searcher:
        pages = [searcher.search(Query((Part("red"),), 1, offset)).hits for offset in range(4)]
        assert sorted(hit.id for page in pages for hit in page) == ids
        for number in ids:
            assert sorted(hit.id for hit in searcher.similar_to(number, 10).hits) == [i for i in ids if i != number]
            for operator, matches in (
                ("==", number.__eq__), ("!=", number.__ne__), ("<", number.__gt__), ("<=", number.__ge__),
                (">", number.__lt__), (">=", number.__le__),
            ):  # fmt: skip
                for negation, wanted in (("", True), ("not ", False)):
                    found = searcher.by_text("red", 10, filter=f"{negation}id {operator} {number}").hits
                    assert sorted(hit.id for hit in found) == [i for i in ids if matches(i) is wanted], operator
        for values in ([ids[0]], [ids[0], ids[3]], [ids[3]]):
            for word, wanted in (("in", True), ("not in", False)):
                found = searcher.by_text("red", 10, filter=f"id {word} {values}").hits
                assert sorted(hit.id for hit in found) == [i for i in ids if (i in values) is wanted], (word, values)


def test_ids_that_differ_by_one_are_pruned_one_by_one(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    table = tmp_path / "photos.csv"
    lines = [f"{1_700_000_000_000_000_000 + number},{path}" for number, path in enumerate(photos.paths[:5])]
    table.write_text("\n".join(["id,path", *lines]) + "\n")
    run_insert(table, lite)
    table.write_text("\n".join(["id,path", lines[1]]) + "\n")
    assert run_insert(table, lite, prune=lambda gone, stored: True).removed == 4


def test_the_smallest_and_largest_ids_are_pruned(settings: Settings, table: Path, ids: list[int]) -> None:
    run_insert(table, settings)
    rows = table.read_text().splitlines()
    table.write_text("\n".join([rows[0], *rows[2:4]]) + "\n")
    assert run_insert(table, settings, prune=lambda gone, stored: True).removed == 2
    with Searcher(settings) as searcher:
        assert sorted(hit.id for hit in searcher.by_text("red", 10).hits) == ids[1:3]


def test_the_id_that_a_server_does_not_find_again_is_refused(
    milvus_server: str, photos: Photos, tmp_path: Path
) -> None:
    table = write_csv(tmp_path / "largest.csv", ["id", "path"], [[LARGEST, photos.paths[0]]])
    with pytest.raises(InputError, match=f"does not find the id {LARGEST} again: give that row another id"):
        run_insert(table, Settings(uri=milvus_server, collection=f"t_{uuid.uuid4().hex[:12]}", model="builtin"))
