"""The smallest and the largest id are stored, found, filtered, paged and pruned like any other."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from pipelines import Searcher, Settings, run_insert
from pipelines.query import Part, Query
from tests.support.photos import Photos

IDS = [-(2**63), 1 - 2**63, 0, 2**63 - 1]


@pytest.fixture
def table(photos: Photos, tmp_path: Path) -> Path:
    path = tmp_path / "photos.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "path"), *zip(IDS, photos.paths, strict=False)])
    return path


def test_the_smallest_and_largest_ids_are_stored_found_filtered_and_paged(lite: Settings, table: Path) -> None:
    assert run_insert(table, lite).inserted == 4
    assert run_insert(table, lite).unchanged == 4
    with Searcher(lite) as searcher:
        pages = [searcher.search(Query((Part("red"),), 1, offset)).hits for offset in range(4)]
        assert sorted(hit.id for page in pages for hit in page) == IDS
        for number in IDS:
            assert sorted(hit.id for hit in searcher.similar_to(number, 10).hits) == [i for i in IDS if i != number]
            for operator, matches in (
                ("==", number.__eq__), ("!=", number.__ne__), ("<", number.__gt__), ("<=", number.__ge__),
                (">", number.__lt__), (">=", number.__le__),
            ):  # fmt: skip
                for negation, wanted in (("", True), ("not ", False)):
                    found = searcher.by_text("red", 10, filter=f"{negation}id {operator} {number}").hits
                    assert sorted(hit.id for hit in found) == [i for i in IDS if matches(i) is wanted], operator
        for values in ([IDS[0]], [IDS[0], IDS[3]], [IDS[3]]):
            for word, wanted in (("in", True), ("not in", False)):
                found = searcher.by_text("red", 10, filter=f"id {word} {values}").hits
                assert sorted(hit.id for hit in found) == [i for i in IDS if (i in values) is wanted], (word, values)


def test_ids_that_differ_by_one_are_pruned_one_by_one(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    table = tmp_path / "photos.csv"
    lines = [f"{1_700_000_000_000_000_000 + number},{path}" for number, path in enumerate(photos.paths[:5])]
    table.write_text("\n".join(["id,path", *lines]) + "\n")
    run_insert(table, lite)
    table.write_text("\n".join(["id,path", lines[1]]) + "\n")
    assert run_insert(table, lite, prune=lambda gone, stored: True).removed == 4


def test_the_smallest_and_largest_ids_are_pruned(lite: Settings, table: Path) -> None:
    run_insert(table, lite)
    rows = table.read_text().splitlines()
    table.write_text("\n".join([rows[0], *rows[2:4]]) + "\n")
    assert run_insert(table, lite, prune=lambda gone, stored: True).removed == 2
    with Searcher(lite) as searcher:
        assert sorted(hit.id for hit in searcher.by_text("red", 10).hits) == IDS[1:3]
