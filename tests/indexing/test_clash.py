"""Equal ids in two sources: the run stops before any work, unless it is the same source or the same image."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import Settings, run_insert
from pipelines.errors import InputError
from tests.support.insert import all_rows
from tests.support.photos import Photos, write_csv
from tests.support.program import CommandResult

# The one line names the id, both sources and all ways out.
CLASH = r"^id 1 is .*00001.jpg in .*photos.csv and .*other.csv: .*--ids from-path.*--replace.*--collection"


@pytest.fixture
def other(photos: Photos) -> Path:
    """List another image under an id of the first table."""
    return write_csv(photos.folder / "other.csv", ["id", "path"], [[1, photos.paths[5]], [100, photos.paths[6]]])


def test_another_image_under_the_same_id_stops_the_run_before_any_work(
    settings: Settings, photos: Photos, other: Path
) -> None:
    run_insert(photos.csv, settings, limit=5)
    before = all_rows(settings)
    with pytest.raises(InputError, match=CLASH):
        run_insert(other, settings)
    assert all_rows(settings) == before


def test_the_ways_out_lead_out(settings: Settings, photos: Photos, other: Path) -> None:
    run_insert(photos.csv, settings, limit=5)
    run_insert(other, settings, ids="from-path")
    rows = all_rows(settings)
    assert sorted(Path(str(row["path"])).name for row in rows.values()) == [f"0000{number}.jpg" for number in range(7)]
    assert rows[1]["path"] == str(photos.paths[1])
    run_insert(other, settings, replace=True)
    assert all_rows(settings)[1]["path"] == str(photos.paths[5])


def test_the_command_names_the_ways_out(
    quick_command: Callable[..., CommandResult], photos: Photos, other: Path
) -> None:
    assert quick_command("insert", photos.csv, "--model", "builtin", "--limit", 5).status == 0
    done = quick_command("insert", other)
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "--ids from-path" in done.err
    assert quick_command("insert", other, "--ids", "elsewhere").status == 2
    assert quick_command("insert", other, "--replace").status == 0


def test_a_moved_renamed_or_edited_source_is_the_same_one(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    run_insert(photos.csv, lite)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(photos.folder, moved / "photos")
    photos.csv.rename(moved / "renamed.csv")
    (moved / "photos" / "00003.jpg").write_bytes((moved / "photos" / "00004.jpg").read_bytes() + b"edited")
    run_insert(moved / "renamed.csv", lite)
    rows = all_rows(lite)
    assert sorted(rows) == list(range(12))
    assert rows[3]["path"] == str(moved / "photos" / "00003.jpg")


def test_one_image_may_be_in_two_sources(lite: Settings, photos: Photos) -> None:
    run_insert(photos.csv, lite)
    copy = shutil.copyfile(photos.paths[1], photos.folder / "copy.jpg")
    second = write_csv(photos.folder / "two.csv", ["id", "path"], [[0, photos.paths[0]], [1, copy]])
    run_insert(second, lite)
    assert len(all_rows(lite)) == 12


def test_text_ids_clash_like_numbers(lite: Settings, photos: Photos) -> None:
    one = write_csv(photos.folder / "one.csv", ["id", "path"], [["SKU-1", photos.paths[0]], ["7", photos.paths[1]]])
    two = write_csv(photos.folder / "two.csv", ["id", "path"], [["SKU-2", photos.paths[2]], ["SKU-1", photos.paths[3]]])
    run_insert(one, lite)
    with pytest.raises(
        InputError, match=r"^id SKU-1 is .*00000.jpg in .*one.csv and .*00003.jpg in row 3 of .*two.csv"
    ):
        run_insert(two, lite)
