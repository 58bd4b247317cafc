"""`insert --prune`: rows whose file or line is gone are removed, and nothing else ever is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import Settings, run_insert
from pipelines.errors import InputError
from tests.support.insert import all_rows, collection_of, did
from tests.support.photos import Photos, draw_images, write_csv
from tests.support.program import CommandResult


def yes(gone: int, total: int) -> bool:
    return True


def test_gone_files_and_gone_lines_are_removed(settings: Settings, photos: Photos, tmp_path: Path) -> None:
    run_insert(photos.csv, settings)
    photos.paths[4].unlink()
    lines = photos.csv.read_text().splitlines()
    photos.csv.write_text("\n".join(line for line in lines if not line.startswith("7,")) + "\n")
    asked = []
    rejects = str(tmp_path / "r.csv")
    kept = run_insert(photos.csv, settings, rejects=rejects, prune=lambda *numbers: bool(asked.append(numbers)))
    assert did(kept) == {"unchanged": 10, "rejected": 1}
    assert asked == [(2, 12)]
    assert collection_of(settings).count() == 12
    assert did(run_insert(photos.csv, settings, rejects=rejects, prune=yes)) == {
        "unchanged": 10, "rejected": 1, "removed": 2,
    }  # fmt: skip
    assert set(all_rows(settings)) == set(range(12)) - {4, 7}
    assert collection_of(settings).count() == 10


def test_rows_of_other_sources_are_left_alone(lite: Settings, tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw_images(tmp_path / name, 4)
        run_insert(tmp_path / name, lite)
    shutil.copytree(tmp_path / "b", tmp_path / "c")
    (tmp_path / "a" / "00002.jpg").unlink()
    (tmp_path / "b" / "00003.jpg").unlink()
    assert did(run_insert(tmp_path / "a", lite, prune=yes)) == {"unchanged": 3, "removed": 1}
    assert collection_of(lite).count() == 7


def test_a_row_belongs_to_the_source_that_listed_it_last(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    run_insert(photos.csv, lite)
    rows = [[number, photos.paths[number], "x", 1] for number in range(6)]
    other = write_csv(tmp_path / "other.csv", ["id", "path", "label", "year"], rows)
    run_insert(other, lite)
    photos.csv.write_text("\n".join(photos.csv.read_text().splitlines()[7:]).join(["id,path,label,year\n", "\n"]))
    assert did(run_insert(photos.csv, lite, prune=yes)) == {"unchanged": 6}
    assert collection_of(lite).count() == 12


def test_a_source_that_vanished_removes_nothing(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    run_insert(photos.csv, lite)
    run_insert(photos.folder, lite)
    shutil.move(photos.folder, tmp_path / "elsewhere")  # as when a disk is not mounted
    with pytest.raises(InputError, match=r"not one of the 12 images of .* is there .*nothing was removed"):
        run_insert(photos.csv, lite, rejects=str(tmp_path / "r.csv"), prune=yes)
    with pytest.raises(InputError, match="there is no file or folder"):
        run_insert(photos.folder, lite, prune=yes)
    photos.folder.mkdir()
    with pytest.raises(InputError, match="there is no image in"):
        run_insert(photos.folder, lite, prune=yes)
    assert collection_of(lite).count() == 24


def test_the_command_asks_and_needs_yes_without_a_terminal(
    command: Callable[..., CommandResult], photos: Photos, tmp_path: Path
) -> None:
    db = tmp_path / "s.db"
    arguments = ("insert", photos.folder, "--uri", db, "--model", "builtin")
    command(*arguments)
    photos.paths[0].unlink()
    refused = command(*arguments, "--prune")
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert "--yes" in refused.err
    done = command(*arguments, "--prune", "--yes")
    assert "1 of 12 rows of" in done.err
    assert "removed 1 rows whose file or line is gone" in done.out


def test_most_rows_gone_need_yes(photos: Photos, lite: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """At a terminal the question is not even asked: a lost folder is more likely than seven deleted images."""
    from pipelines.cli.insert import _confirm

    run_insert(photos.folder, lite)
    for path in photos.paths[:7]:
        path.unlink()
    assert did(run_insert(photos.folder, lite, prune=_confirm(photos.folder, yes=False))) == {"unchanged": 5}
    assert "7 of 12 rows" in capsys.readouterr().err
    assert did(run_insert(photos.folder, lite, prune=_confirm(photos.folder, yes=True))) == {
        "unchanged": 5, "removed": 7,
    }  # fmt: skip
