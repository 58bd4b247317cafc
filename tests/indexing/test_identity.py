"""One file is one row with one id, whichever source lists it, by whatever path, and wherever it moves."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pipelines import Settings, run_insert
from pipelines.milvus import schema
from pipelines.sources.source import path_id
from tests.support.insert import all_rows, collection_of, did
from tests.support.photos import Photos, draw_images, write_csv


def ids(settings: Settings) -> dict[str, int]:
    """Return the ids by path."""
    return {str(row["path"]): key for key, row in all_rows(settings).items()}


def sources(settings: Settings) -> dict[int, tuple[str, ...]]:
    return {key: schema.split_sources(str(row["_source"])) for key, row in all_rows(settings).items()}


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Make a folder of four images, two of them in a folder of their own."""
    paths = draw_images(tmp_path / "album", 4)
    (tmp_path / "album" / "cats").mkdir()
    for path in paths[2:]:
        path.rename(path.parent / "cats" / path.name)
    return tmp_path / "album"


def test_a_renamed_folder_keeps_its_rows_and_ids(settings: Settings, album: Path, tmp_path: Path) -> None:
    run_insert(album, settings)
    before = ids(settings)
    album.rename(tmp_path / "new")
    assert did(run_insert(tmp_path / "new", settings)) == {"moved": 4}
    assert ids(settings) == {path.replace("/album/", "/new/"): key for path, key in before.items()}
    assert set(sources(settings).values()) == {(str(tmp_path / "new"),)}
    assert did(run_insert(tmp_path / "new", settings)) == {"unchanged": 4}


def test_a_folder_that_is_renamed_back_has_its_first_rows(lite: Settings, album: Path, tmp_path: Path) -> None:
    run_insert(album, lite)
    before = all_rows(lite)
    album.rename(tmp_path / "new")
    run_insert(tmp_path / "new", lite)
    (tmp_path / "new").rename(album)
    assert did(run_insert(album, lite)) == {"moved": 4}
    assert {key: row["path"] for key, row in all_rows(lite).items()} == {k: row["path"] for k, row in before.items()}


def test_a_file_at_the_place_of_a_moved_one_gets_the_next_free_id(lite: Settings, album: Path, tmp_path: Path) -> None:
    run_insert(album, lite)
    first = album / "00000.jpg"
    moved, key = album / "moved.jpg", path_id(str(album / "00000.jpg"))
    first.rename(moved)
    assert did(run_insert(album, lite)) == {"moved": 1, "unchanged": 3}
    first.write_bytes(moved.read_bytes() + b"another content")
    assert did(run_insert(album, lite)) == {"inserted": 1, "unchanged": 4}
    assert ids(lite)[str(moved)] == key
    assert ids(lite)[str(first)] == key + 1
    assert did(run_insert(album, lite)) == {"unchanged": 5}


def test_equal_files_of_a_renamed_folder_keep_apart(lite: Settings, album: Path, tmp_path: Path) -> None:
    """The row whose path has the longest end in common is taken; among equals, the one with the smallest id."""
    (album / "dogs").mkdir()
    for name in ("00002.jpg", "00003.jpg"):
        shutil.copy(album / "cats" / "00002.jpg", album / "dogs" / name)
    run_insert(album, lite)
    before = ids(lite)
    album.rename(tmp_path / "new")
    assert did(run_insert(tmp_path / "new", lite)) == {"moved": 6}
    assert ids(lite) == {path.replace("/album/", "/new/"): key for path, key in before.items()}


def test_a_copy_whose_original_is_there_is_a_row_of_its_own(lite: Settings, album: Path) -> None:
    run_insert(album, lite)
    shutil.copy(album / "00000.jpg", album / "copy.jpg")
    assert did(run_insert(album, lite)) == {"deduplicated": 1, "unchanged": 4}


def test_a_copy_of_a_file_that_only_cannot_be_seen_is_a_row_of_its_own(lite: Settings, album: Path) -> None:
    """The row's device is that of a disk that is not mounted now, so the original may be on it."""
    run_insert(album, lite)
    collection = collection_of(lite)
    collection.upsert({**row, "_device": 12345} for row in all_rows(lite).values())
    shutil.move(album, album.parent / "copy")
    assert did(run_insert(album.parent / "copy", lite)) == {"deduplicated": 4}


def test_a_csv_and_its_images_that_moved_together_are_moved(settings: Settings, photos: Photos, tmp_path: Path) -> None:
    """The CSV has relative paths, and ids are derived from paths; the ids stay as they were."""
    photos.csv.write_text("path,label,year\n" + "\n".join(f"photos/{p.name},x,{2000}" for p in photos.paths) + "\n")
    run_insert(photos.csv, settings)
    before = ids(settings)
    new = tmp_path / "moved"
    new.mkdir()
    photos.csv.rename(new / "list.csv")
    photos.folder.rename(new / "photos")
    assert did(run_insert(new / "list.csv", settings)) == {"moved": 12}
    assert sorted(ids(settings).values()) == sorted(before.values())
    assert set(sources(settings).values()) == {(str(new / "list.csv"),)}


def test_a_folder_adopts_the_rows_and_ids_of_a_csv(settings: Settings, photos: Photos) -> None:
    run_insert(photos.csv, settings)
    assert did(run_insert(photos.folder, settings)) == {"metadata_updated": 12}
    assert set(all_rows(settings)) == set(range(12))
    assert set(sources(settings).values()) == {(str(photos.csv), str(photos.folder))}
    assert did(run_insert(photos.folder, settings)) == {"unchanged": 12}
    assert did(run_insert(photos.csv, settings)) == {"unchanged": 12}


@pytest.mark.long
def test_the_ids_of_a_csv_replace_those_of_a_folder(settings: Settings, photos: Photos) -> None:
    run_insert(photos.folder, settings)
    assert did(run_insert(photos.csv, settings)) == {"metadata_updated": 12}
    assert set(all_rows(settings)) == set(range(12))
    assert did(run_insert(photos.folder, settings)) == {"unchanged": 12}
    assert did(run_insert(photos.csv, settings)) == {"unchanged": 12}


@pytest.mark.long
def test_a_csv_may_have_several_rows_for_one_image(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    """Such a CSV lists captions. A folder that lists the image adopts one of its rows."""
    rows = [[number, photos.paths[number % 2]] for number in range(6)]
    table = write_csv(tmp_path / "captions.csv", ["id", "path"], rows)
    assert did(run_insert(table, lite)) == {"inserted": 2, "deduplicated": 4}
    assert did(run_insert(photos.folder, lite)) == {"inserted": 10, "metadata_updated": 2}
    assert len(all_rows(lite)) == 16
    assert did(run_insert(photos.folder, lite)) == {"unchanged": 12}
    assert did(run_insert(table, lite)) == {"unchanged": 6}


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
@pytest.mark.parametrize("folder_first", [True, False])
def test_a_file_that_is_listed_by_a_link_and_by_its_real_path_is_one_row(
    folder_first: bool, lite: Settings, photos: Photos, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(photos.folder)
    table = write_csv(tmp_path / "links.csv", ["path"], [[f"link/{path.name}"] for path in photos.paths])
    order = (photos.folder, table) if folder_first else (table, photos.folder)
    assert did(run_insert(order[0], lite)) == {"inserted": 12}
    assert did(run_insert(order[1], lite)) == {"metadata_updated": 12}
    assert set(ids(lite)) == set(map(str, photos.paths))
    for source in (*order, *order):
        assert did(run_insert(source, lite)) == {"unchanged": 12}


@pytest.mark.long
def test_a_csv_that_lists_the_old_path_leaves_a_moved_row_alone(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    rejects = str(tmp_path / "r.csv")
    table = write_csv(tmp_path / "list.csv", ["path"], [[path] for path in photos.paths])
    run_insert(table, lite)
    photos.paths[0].rename(photos.folder / "renamed.jpg")
    assert did(run_insert(photos.folder, lite)) == {"moved": 1, "metadata_updated": 11}
    assert did(run_insert(table, lite, rejects=rejects)) == {"unchanged": 11, "rejected": 1}
    assert len(all_rows(lite)) == 12
    assert did(run_insert(photos.folder, lite)) == {"unchanged": 12}


@pytest.mark.long
def test_a_change_of_model_keeps_ids_columns_and_sources(lite: Settings, photos: Photos) -> None:
    from tests.indexing.test_rerun import of_another_model

    run_insert(photos.csv, lite)
    run_insert(photos.folder, lite)
    photos.paths[0].rename(photos.folder / "renamed.jpg")
    of_another_model(lite, 64)
    assert did(run_insert(photos.folder, lite, reembed=True)) == {"inserted": 12}
    rows = all_rows(lite)
    assert set(rows) == set(range(12))
    assert (rows[0]["label"], rows[0]["year"]) == ("label0", 2010)
    assert rows[0]["path"] == str(photos.folder / "renamed.jpg")
    assert sources(lite)[1] == (str(photos.csv), str(photos.folder))
