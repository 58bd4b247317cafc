"""A source changes only its own columns, and the summary names the columns whose values changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import Settings, run_insert
from tests.support.insert import all_rows, did
from tests.support.photos import Photos, write_csv
from tests.support.program import CommandResult


def cells(settings: Settings, *names: str) -> dict[str, tuple[object, ...]]:
    """Return the cells of some columns by the name of the file."""
    return {Path(str(row["path"])).name: tuple(row[name] for name in names) for row in all_rows(settings).values()}


def test_a_folder_leaves_the_columns_of_a_csv_as_they_are(settings: Settings, photos: Photos) -> None:
    run_insert(photos.csv, settings)
    before = cells(settings, "label", "year")
    summary = run_insert(photos.folder, settings)
    assert cells(settings, "label", "year") == before
    assert summary.changed == {}


def test_a_csv_with_fewer_columns_leaves_the_others_as_they_are(settings: Settings, photos: Photos) -> None:
    run_insert(photos.csv, settings)
    before = cells(settings, "year")
    rows = [[number, path, "new" if number < 3 else f"label{number % 3}"] for number, path in enumerate(photos.paths)]
    summary = run_insert(write_csv(photos.csv, ["id", "path", "label"], rows), settings)
    assert did(summary) == {"metadata_updated": 3, "unchanged": 9}
    assert summary.changed == {"label": 3}
    assert cells(settings, "year") == before


def test_a_cell_that_is_emptied_is_empty(settings: Settings, photos: Photos) -> None:
    run_insert(photos.csv, settings)
    photos.csv.write_text(photos.csv.read_text().replace("label0,2010", ","))
    assert run_insert(photos.csv, settings).changed == {"label": 1, "year": 1}
    assert cells(settings, "label", "year")["00000.jpg"] == ("", None)


@pytest.mark.long
def test_a_csv_overwrites_the_label_of_a_folder_and_fills_columns(lite: Settings, photos: Photos) -> None:
    run_insert(photos.folder.parent, lite)
    assert set(cells(lite, "label").values()) == {("photos",)}
    summary = run_insert(photos.csv, lite)
    assert summary.changed == {"label": 12, "year": 12}
    assert cells(lite, "label", "year")["00001.jpg"] == ("label1", 2011)


def test_a_folder_fills_in_labels_that_are_empty(lite: Settings, photos: Photos) -> None:
    photos.csv.write_text(photos.csv.read_text().replace("label0", ""))
    run_insert(photos.csv, lite)
    assert run_insert(photos.folder.parent, lite).changed == {"label": 4}
    assert cells(lite, "label")["00000.jpg"] == ("photos",)
    assert cells(lite, "label")["00001.jpg"] == ("label1",)


def test_the_label_of_a_folder_follows_a_file_that_moves(lite: Settings, photos: Photos) -> None:
    top = photos.folder.parent
    run_insert(top, lite)
    (top / "cats").mkdir()
    photos.paths[0].rename(top / "cats" / "00000.jpg")
    photos.paths[1].rename(top / "00001.jpg")
    assert did(run_insert(top, lite)) == {"moved": 2, "unchanged": 10}
    assert cells(lite, "label")["00000.jpg"] == ("cats",)
    assert cells(lite, "label")["00001.jpg"] == ("",)
    assert cells(lite, "label")["00002.jpg"] == ("photos",)


def test_the_command_says_which_columns_changed(
    quick_command: Callable[..., CommandResult], photos: Photos, tmp_path: Path
) -> None:
    arguments = ("insert", photos.csv, "--uri", tmp_path / "s.db", "--model", "builtin")
    assert "changed:" not in quick_command(*arguments).out
    photos.csv.write_text(photos.csv.read_text().replace("label1,2011", "cat,2001").replace("label1", "dog"))
    assert "\nchanged: label 4, year 1\n" in quick_command(*arguments).out
