"""`insert --prune`: rows whose file or line is gone are removed, and nothing else ever is."""

from __future__ import annotations

import csv
import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from pipelines import Settings, run_insert
from pipelines.errors import InputError
from pipelines.indexing.gone import GoneFiles
from pipelines.indexing.prune import prune_collection
from pipelines.sources.source import path_id
from tests.support.insert import all_rows, collection_of, did
from tests.support.photos import Photos, draw_images, write_csv
from tests.support.program import CommandResult
from tests.support.web_server import WebServer


@pytest.fixture(autouse=True)
def _lists_in_a_folder_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lists").mkdir()
    monkeypatch.chdir(tmp_path / "lists")


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


@pytest.mark.long
def test_a_row_stays_until_the_last_source_lets_go_of_it(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    run_insert(photos.csv, lite)
    rows = [[number, photos.paths[number], "x", 1] for number in range(6)]
    other = write_csv(tmp_path / "other.csv", ["id", "path", "label", "year"], rows)
    run_insert(other, lite)
    photos.csv.write_text("\n".join(photos.csv.read_text().splitlines()[7:]).join(["id,path,label,year\n", "\n"]))
    assert did(run_insert(photos.csv, lite, prune=yes)) == {"unchanged": 6}
    assert collection_of(lite).count() == 12
    other.write_text("id,path\n7,photos/00007.jpg\n")
    assert did(run_insert(other, lite, prune=yes)) == {"metadata_updated": 1, "removed": 6}
    assert set(all_rows(lite)) == set(range(6, 12))


def test_a_source_that_vanished_removes_nothing(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    run_insert(photos.csv, lite)
    run_insert(photos.folder, lite)
    shutil.move(photos.folder, tmp_path / "elsewhere")  # as if a disk were not mounted
    with pytest.raises(InputError, match=r"nothing is left of 12 images of .*nothing was removed"):
        run_insert(photos.csv, lite, rejects=str(tmp_path / "r.csv"), prune=yes)
    with pytest.raises(InputError, match="there is no file or folder"):
        run_insert(photos.folder, lite, prune=yes)
    photos.folder.mkdir()
    with pytest.raises(InputError, match="there is no image in"):
        run_insert(photos.folder, lite, prune=yes)
    assert collection_of(lite).count() == 12


def test_the_command_asks_and_needs_yes_without_a_terminal(
    quick_command: Callable[..., CommandResult], photos: Photos, tmp_path: Path
) -> None:
    db = tmp_path / "s.db"
    arguments = ("insert", photos.folder, "--uri", db, "--model", "builtin")
    quick_command(*arguments)
    photos.paths[0].unlink()
    refused = quick_command(*arguments, "--prune")
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert "--yes" in refused.err
    done = quick_command(*arguments, "--prune", "--yes")
    assert "1 of 12 rows of" in done.err
    assert "removed 1 row whose file or line is gone" in done.out


def test_most_rows_gone_need_yes(photos: Photos, lite: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Even at a terminal no question is asked: a lost folder is more likely than seven deleted images."""
    from pipelines.cli.prune import confirm

    run_insert(photos.folder, lite)
    for path in photos.paths[:7]:
        path.unlink()
    assert did(run_insert(photos.folder, lite, prune=confirm(str(photos.folder), yes=False))) == {"unchanged": 5}
    assert "7 of 12 rows" in capsys.readouterr().err
    assert did(run_insert(photos.folder, lite, prune=confirm(str(photos.folder), yes=True))) == {
        "unchanged": 5, "removed": 7,
    }  # fmt: skip


def test_every_prune_leaves_a_list_and_overwrites_none(settings: Settings, photos: Photos) -> None:
    run_insert(photos.csv, settings)
    for number in (3, 5):
        photos.paths[number].unlink()
        summary = run_insert(photos.csv, settings, prune=yes)
        with open(summary.pruned_file, newline="") as file:
            assert list(csv.DictReader(file)) == [
                {"id": str(number), "path": str(photos.paths[number]), "source": str(photos.csv)}
            ]
    assert len(list(Path().glob("pruned-*.csv"))) == 2


@pytest.mark.skipif(os.name == "nt", reason="a folder in use cannot be removed there")
def test_nothing_is_removed_if_the_list_cannot_be_written(
    lite: Settings, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_insert(photos.csv, lite)
    photos.paths[3].unlink()
    (tmp_path / "full").mkdir()
    monkeypatch.chdir(tmp_path / "full")
    (tmp_path / "full").rmdir()  # so that no file can be made in it
    with pytest.raises(InputError, match=r"cannot be listed in pruned-.* nothing was removed"):
        run_insert(photos.csv, lite, rejects=str(tmp_path / "r.csv"), prune=yes)
    assert collection_of(lite).count() == 12


def test_an_excluded_image_is_let_go_of(lite: Settings, photos: Photos) -> None:
    run_insert(photos.folder, lite)
    done = run_insert(photos.folder, lite, exclude=["0000*"], prune=yes)
    assert did(done) == {"unchanged": 2, "removed": 10}


def on_device(settings: Settings, number: int) -> None:
    """Store all rows as if their files had been on a disk with this device number."""
    collection_of(settings).upsert({**row, "_device": number} for row in all_rows(settings).values())


def test_nothing_on_a_disk_that_is_not_mounted_is_gone(settings: Settings, photos: Photos, tmp_path: Path) -> None:
    """The mount point is then a folder of another disk, and does not hold the files."""
    extra = write_csv(tmp_path / "extra.csv", ["id", "path"], [[50, draw_images(tmp_path / "home", 1)[0]]])
    run_insert(photos.csv, settings)
    on_device(settings, 12345)
    run_insert(extra, settings)
    shutil.rmtree(photos.folder)
    photos.csv.write_text(photos.csv.read_text() + f"50,{tmp_path}/home/00000.jpg,x,1\n")
    done = run_insert(photos.csv, settings, rejects=str(tmp_path / "r.csv"), prune=yes)
    assert did(done) == {"metadata_updated": 1, "rejected": 12}
    assert done.kept == {"their disk may not be mounted": 12}
    pruned = prune_collection(collection_of(settings), GoneFiles(collection_of(settings)), yes)
    assert (pruned.removed, pruned.kept) == (0, done.kept)
    assert collection_of(settings).count() == 13


def test_a_disk_that_has_another_number_now_is_recognised_by_its_other_files(
    settings: Settings, photos: Photos
) -> None:
    run_insert(photos.folder, settings)
    on_device(settings, 12345)
    photos.paths[3].unlink()
    assert did(run_insert(photos.folder, settings, prune=yes)) == {"unchanged": 11, "removed": 1}


def test_rows_of_an_unknown_disk_are_gone_if_other_files_of_their_source_are_there(
    lite: Settings, photos: Photos, tmp_path: Path
) -> None:
    draw_images(tmp_path / "other", 2)
    run_insert(photos.folder, lite)
    run_insert(tmp_path / "other", lite)
    on_device(lite, -1)
    photos.paths[3].unlink()
    shutil.rmtree(tmp_path / "other")
    pruned = prune_collection(collection_of(lite), GoneFiles(collection_of(lite)), yes)
    assert [row["path"] for row in pruned.rows] == [str(photos.paths[3])]
    assert pruned.kept == {"their disk may not be mounted": 2}


@pytest.mark.long
def test_lost_addresses_are_gone_and_silent_ones_are_not(lite: Settings, web_server: WebServer, tmp_path: Path) -> None:
    settings = dataclasses.replace(lite, allow_private_urls=True)
    web_server.files |= dict.fromkeys(("a", "b", "c"), web_server.files["ok"])
    rows = [[number, f"{web_server.url}/files/{name}"] for number, name in enumerate("abc")]
    table = write_csv(tmp_path / "web.csv", ["id", "path"], rows)
    assert run_insert(table, settings).inserted == 3
    del web_server.files["a"]
    assert did(run_insert(table, settings, prune=yes)) == {"unchanged": 3, "removed": 1}
    collection = collection_of(lite)
    row = all_rows(lite)[1]
    collection.upsert([{**row, "path": f"{web_server.url}/status/503"}])
    pruned = prune_collection(collection, GoneFiles(collection, allow_private=True), yes)
    assert (pruned.removed, pruned.kept) == (0, {"the server answers 503 Service Unavailable": 1})


def test_lost_objects_of_a_bucket_are_gone(lite: Settings, bucket: str, photos: Photos) -> None:
    store = fsspec.filesystem("memory")
    store.pipe({f"{bucket}/{path.name}": path.read_bytes() for path in photos.paths})
    assert run_insert(bucket, lite).inserted == 12
    store.rm(f"{bucket}/00003.jpg")
    assert did(run_insert(bucket, lite, prune=yes)) == {"unchanged": 11, "removed": 1}


def test_a_dry_run_lists_and_changes_nothing(
    quick_command: Callable[..., CommandResult], photos: Photos, tmp_path: Path
) -> None:
    insert = ("insert", photos.folder, "--uri", tmp_path / "s.db", "--model", "builtin")
    quick_command(*insert)
    photos.paths[0].unlink()
    photos.paths[1].rename(photos.folder / "renamed.jpg")
    (photos.folder / "new.jpg").write_bytes(photos.paths[2].read_bytes())
    done = quick_command(*insert, "--prune", "--dry-run")
    assert done.status == 0
    assert done.out == f"id,path,source\n{path_id(str(photos.paths[0]))},{photos.paths[0]},{photos.folder}\n"
    listed = quick_command("prune", "--uri", tmp_path / "s.db", "--dry-run").out.splitlines()
    assert {line.split(",")[1] for line in listed[1:]} == {str(path) for path in photos.paths[:2]}
    assert "13 rows: 0 inserted, 0 updated" not in quick_command(*insert, "--dry-run").err
    rows = quick_command("info", "--uri", tmp_path / "s.db", "--json").out
    assert '"rows": 12' in rows


def test_the_command_prune_removes_what_is_gone_whatever_source_listed_it(
    quick_command: Callable[..., CommandResult], photos: Photos, tmp_path: Path
) -> None:
    db = ("--uri", tmp_path / "s.db")
    quick_command("insert", photos.csv, *db, "--model", "builtin")
    quick_command("insert", photos.folder, *db)
    assert quick_command("prune", *db, "--yes").out == "no file is gone\n"
    photos.paths[0].unlink()
    refused = quick_command("prune", *db)
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    done = quick_command("prune", *db, "--yes")
    assert done.status == 0
    assert "1 of 12 rows of 'images'" in done.err
    assert "removed 1 row; the list: pruned-" in done.out
    (file,) = (tmp_path / "cwd").glob("pruned-*.csv")
    assert file.read_text().splitlines()[1] == f"0,{photos.paths[0]},{photos.csv}; {photos.folder}"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on which a small disk is mounted."""
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mount_point)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk")
    yield mount_point
    for path in (mount_point, tmp_path / "elsewhere"):
        subprocess.run(["umount", str(path)], capture_output=True)


def test_a_disk_that_is_mounted_elsewhere_has_moved_and_one_that_is_not_mounted_is_not_gone(
    lite: Settings, disk: Path, tmp_path: Path
) -> None:
    draw_images(disk / "photos", 4)
    run_insert(disk / "photos", lite)
    before = set(all_rows(lite))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run(["mount", "--move", disk, elsewhere], check=True)
    pruned = prune_collection(collection_of(lite), GoneFiles(collection_of(lite)), yes)
    assert (pruned.removed, pruned.kept) == (0, {"their disk may not be mounted": 4})
    assert did(run_insert(elsewhere / "photos", lite)) == {"moved": 4}
    assert set(all_rows(lite)) == before
    subprocess.run(["umount", elsewhere], check=True)
    pruned = prune_collection(collection_of(lite), GoneFiles(collection_of(lite)), yes)
    assert (pruned.removed, pruned.kept) == (0, {"their disk may not be mounted": 4})
