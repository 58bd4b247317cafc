"""Columns that are read from the files: which collection has them, when a file is read, and whose value counts."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines import Searcher, Settings, Summary, run_insert
from pipelines.cli.commands import group
from pipelines.cli.output import print_hits, print_summary
from pipelines.errors import InputError
from pipelines.fields import FieldType, format_date, read_key
from pipelines.images.metadata import COLUMNS
from pipelines.images.place import has_places
from pipelines.milvus.copy import copy_collection
from tests.support.images import encode, quadrants
from tests.support.insert import all_rows, collection_of, did, vectors
from tests.support.metadata import TAKEN, exif_of
from tests.support.photos import Photos, draw_images, write_csv
from tests.support.web_server import WebServer

MODIFIED, TOUCHED = datetime(2022, 6, 7, 8, 9, 10), datetime(2022, 6, 7, 8, 9, 11)
ALL = [name for name in COLUMNS if name != "place" or has_places()]


@pytest.fixture
def camera(tmp_path: Path) -> list[Path]:
    """Make a folder of four images of a camera, the last of which has no metadata; return their paths."""
    paths = draw_images(tmp_path / "camera", 4)
    for number, path in enumerate(paths[:3]):
        tag(path, number)
    for path in paths:
        os.utime(path, (MODIFIED.timestamp(), MODIFIED.timestamp()))
    return paths


def tag(path: Path, number: int) -> None:
    exif = exif_of(
        {0x010F: "Canon", 0x010E: f"no. {number}"}, {TAKEN: f"2021:05:0{number + 1} 10:11:12"},
        {1: "S", 2: (33.0, 55.0, 12.0), 3: "E", 4: (18.0, 25.0, 12.0)},
    )  # fmt: skip
    with Image.open(path) as image:
        image.load()
        image.save(path, quality=92, exif=exif.tobytes())


def cells(settings: Settings, *names: str) -> dict[str, tuple[Any, ...]]:
    """Return the cells of some columns by the name of the file, with dates as text."""
    fields = {field.name: field for field in collection_of(settings).fields()}
    found = {}
    for row in all_rows(settings).values():
        values = [row[fields[name].key] for name in names]
        shown = [
            format_date(value) if fields[name].type is FieldType.DATE and isinstance(value, int) else value
            for name, value in zip(names, values, strict=True)
        ]
        found[Path(str(row["path"])).name] = tuple(shown)
    return found


def names_of(settings: Settings) -> list[str]:
    return [field.name for field in collection_of(settings).fields()]


def embedded(summary: Summary) -> int:
    return summary.inserted + summary.updated


def test_a_new_collection_gets_what_the_files_tell(settings: Settings, camera: list[Path]) -> None:
    summary = run_insert(camera[0].parent, settings)
    assert names_of(settings) == ["label", *ALL]
    found = cells(settings, "width", "height", "taken", "camera", "description", "latitude", "rating", "modified")
    assert found["00001.jpg"] == (
        96, 72, "2021-05-02T10:11:12", "Canon", "no. 1", -33.92, None, "2022-06-07T08:09:10",
    )  # fmt: skip
    assert found["00003.jpg"] == (96, 72, None, "", "", None, None, "2022-06-07T08:09:10")
    assert summary.read["width"] == 4
    assert summary.read["taken"] == summary.read["latitude"] == 3
    with Searcher(settings) as searcher:
        hits = searcher.by_text("a colour", filter="rating is empty and taken >= 2021-05-03").hits
    assert [hit.fields["taken"] for hit in hits] == ["2021-05-03T10:11:12"]


def test_a_csv_gets_them_too_and_its_own_columns_stay_its_own(settings: Settings, camera: list[Path]) -> None:
    rows = [[path, f"{number} stars", ""] for number, path in enumerate(camera)]
    table = write_csv(camera[0].parent.parent / "images.csv", ["path", "rating", "description"], rows)
    run_insert(table, settings)
    assert names_of(settings) == ["rating", "description", *(n for n in ALL if n not in ("rating", "description"))]
    assert cells(settings, "rating", "description", "camera")["00002.jpg"] == ("2 stars", "", "Canon")


def test_an_unchanged_file_is_not_read_again(settings: Settings, camera: list[Path]) -> None:
    run_insert(camera[0].parent, settings)
    before = cells(settings, "label", *ALL)
    data = bytearray(camera[0].read_bytes())
    at = data.index(b"2021:05:01")
    data[at : at + 4] = b"1999"
    camera[0].write_bytes(data)
    os.utime(camera[0], (MODIFIED.timestamp(), MODIFIED.timestamp()))
    summary = run_insert(camera[0].parent, settings)
    assert (did(summary), summary.read) == ({"unchanged": 4}, {})
    assert cells(settings, "label", *ALL) == before
    # With another modification time, the same change is found.
    os.utime(camera[0])
    assert did(run_insert(camera[0].parent, settings)) == {"updated": 1, "unchanged": 3}
    assert cells(settings, "taken")["00000.jpg"] == ("1999-05-01T10:11:12",)


def test_a_moved_touched_or_copied_file(lite: Settings, camera: list[Path]) -> None:
    folder = camera[0].parent
    run_insert(folder, lite)
    camera[0].rename(folder / "moved.jpg")
    os.utime(camera[1], (TOUCHED.timestamp(), TOUCHED.timestamp()))
    (folder / "copy.jpg").write_bytes(camera[2].read_bytes())
    summary = run_insert(folder, lite)
    assert did(summary) == {"deduplicated": 1, "moved": 1, "metadata_updated": 1, "unchanged": 2}
    assert summary.changed == {"modified": 1}
    assert summary.read["taken"] == 1  # of the copy
    found = cells(lite, "camera", "taken", "modified")
    assert found["moved.jpg"] == ("Canon", "2021-05-01T10:11:12", "2022-06-07T08:09:10")
    assert found["00001.jpg"] == ("Canon", "2021-05-02T10:11:12", "2022-06-07T08:09:11")
    assert found["copy.jpg"][:2] == ("Canon", "2021-05-03T10:11:12")


@pytest.mark.long
def test_a_collection_that_exists_gets_them_on_request_without_an_embedding(
    settings: Settings, camera: list[Path]
) -> None:
    folder = camera[0].parent
    run_insert(folder, settings, metadata=False)
    assert names_of(settings) == ["label"]
    before = vectors(settings)
    assert did(run_insert(folder, settings)) == {"unchanged": 4}
    assert names_of(settings) == ["label"]
    summary = run_insert(folder, settings, metadata=True)
    assert (summary.copied, embedded(summary), summary.metadata_updated) == (4, 0, 4)
    assert names_of(settings) == ["label", *ALL]
    assert cells(settings, "camera", "taken", "modified")["00000.jpg"] == (
        "Canon", "2021-05-01T10:11:12", "2022-06-07T08:09:10",
    )  # fmt: skip
    after = vectors(settings)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[key], after[key]) for key in before)
    again = run_insert(folder, settings, metadata=True)
    assert (did(again), again.copied, again.read["camera"]) == ({"unchanged": 4}, 0, 3)


def test_a_file_that_cannot_be_read_keeps_what_is_stored(lite: Settings, camera: list[Path]) -> None:
    run_insert(camera[0].parent, lite)
    before = cells(lite, *ALL)
    camera[0].write_bytes(b"")
    os.utime(camera[0], (MODIFIED.timestamp(), MODIFIED.timestamp()))
    camera[1].unlink()
    summary = run_insert(camera[0].parent, lite, metadata=True)
    assert (did(summary), summary.broken) == ({"unchanged": 2, "rejected": 1, "broken": 1}, 1)
    assert cells(lite, *ALL) == {name: row for name, row in before.items() if name != camera[0].name}


@pytest.mark.long
def test_some_columns_can_be_chosen(lite: Settings, camera: list[Path]) -> None:
    folder = camera[0].parent
    run_insert(folder, lite, columns="taken, width")
    assert names_of(lite) == ["label", "width", "taken"]
    assert cells(lite, "width", "taken")["00000.jpg"] == (96, "2021-05-01T10:11:12")
    assert did(run_insert(folder, lite, columns="width")) == {"unchanged": 4}
    with pytest.raises(InputError, match="no column camera: --metadata adds"):
        run_insert(folder, lite, columns="width,camera")
    run_insert(folder, lite, columns="camera", metadata=True)
    assert names_of(lite) == ["label", "width", "taken", "camera"]
    assert cells(lite, "taken", "camera")["00000.jpg"] == ("2021-05-01T10:11:12", "Canon")
    with pytest.raises(InputError, match=r"files do not tell 'colour'; they tell width, height, taken"):
        run_insert(folder, lite, columns="colour")
    with pytest.raises(InputError, match="--no-metadata reads nothing"):
        run_insert(folder, lite, columns="width", metadata=False)


def test_without_metadata_a_changed_image_keeps_nothing_of_the_old_one(lite: Settings, camera: list[Path]) -> None:
    run_insert(camera[0].parent, lite)
    camera[0].write_bytes(encode(quadrants(), "JPEG"))
    summary = run_insert(camera[0].parent, lite, metadata=False)
    assert (did(summary), summary.read) == ({"updated": 1, "unchanged": 3}, {})
    assert cells(lite, "width", "taken", "camera")["00000.jpg"] == (None, None, "")


@pytest.mark.long
@pytest.mark.parametrize("is_first", [True, False])
def test_a_column_of_a_table_is_the_table_s_whichever_came_first(
    lite: Settings, camera: list[Path], is_first: bool
) -> None:
    folder = camera[0].parent
    rows = [[path, f"0{number + 1}.02.2020 or so", number] for number, path in enumerate(camera[:2])]
    table = write_csv(folder.parent / "images.csv", ["path", "taken", "width"], rows)
    for source in (table, folder) if is_first else (folder, table):
        run_insert(source, lite)
    assert cells(lite, "taken", "width", "camera") == {
        "00000.jpg": ("01.02.2020 or so", 0, "Canon"),
        "00001.jpg": ("02.02.2020 or so", 1, "Canon"),
        "00002.jpg": ("", None, "Canon"),
        "00003.jpg": ("", None, ""),
    }
    run_insert(folder, lite, metadata=True)
    assert cells(lite, "taken", "width")["00002.jpg"] == ("", None)


@pytest.mark.long
def test_a_table_of_dates_in_either_order_takes_a_column_over(lite: Settings, camera: list[Path]) -> None:
    """The dates from the files no longer count, so nothing tells which number is the day, and the cells stay text."""
    run_insert(camera[0].parent, lite)
    table = write_csv(camera[0].parent.parent / "images.csv", ["path", "taken"], [[camera[0], "01/02/2020"]])
    run_insert(table, lite)
    assert cells(lite, "taken")["00000.jpg"] == ("01/02/2020",)


def test_images_on_the_web_are_read_as_they_are_fetched(lite: Settings, web_server: WebServer, tmp_path: Path) -> None:
    web_server.files["tagged"] = encode(quadrants(), "JPEG", exif=exif_of({0x010F: "Canon"}).tobytes())
    table = write_csv(tmp_path / "web.csv", ["path"], [[f"{web_server.url}/files/tagged"]])
    settings = Settings(uri=lite.uri, model="builtin", allow_private_urls=True)
    run_insert(table, settings)
    assert cells(settings, "width", "camera", "modified") == {"tagged": (120, "Canon", None)}
    web_server.files["tagged"] = encode(quadrants(), "JPEG", exif=exif_of({0x010F: "Leica"}).tobytes())
    assert did(run_insert(table, settings)) == {"unchanged": 1}
    assert did(run_insert(table, settings, metadata=True)) == {"metadata_updated": 1}
    assert cells(settings, "camera") == {"tagged": ("Leica",)}


@pytest.mark.long
def test_a_copy_keeps_them_and_refuses_a_table_s_column(lite: Settings, camera: list[Path], tmp_path: Path) -> None:
    run_insert(camera[0].parent, lite)
    copy_collection(collection_of(lite), collection_of(other := Settings(uri=str(tmp_path / "b.db"), model="builtin")))
    assert cells(other, *ALL) == cells(lite, *ALL)
    own = Settings(uri=str(tmp_path / "c.db"), model="builtin")
    run_insert(write_csv(tmp_path / "c.csv", ["path", "label", "width"], [[camera[0], "", 1]]), own)
    with pytest.raises(InputError, match="stores 'width' as int; copy to another"):
        copy_collection(collection_of(lite), collection_of(own))


def test_more_columns_than_a_server_takes_are_refused_before_any_work(milvus_server: str, photos: Photos) -> None:
    settings = Settings(uri=milvus_server, collection=f"t_{os.getpid()}_{os.urandom(4).hex()}", model="builtin")
    header = ["path", *(f"column {number}" for number in range(45))]
    table = write_csv(photos.csv, header, [[path, *range(45)] for path in photos.paths])
    count = 12 + 45 + len(ALL)
    with pytest.raises(InputError, match=f"{count} fields, {len(ALL)} of them .*takes 64: .*--no-metadata"):
        run_insert(table, settings)
    assert not collection_of(settings).exists()
    run_insert(table, settings, columns="width,taken")
    assert names_of(settings)[45:] == ["width", "taken"]
    with pytest.raises(InputError, match=r"--columns width,taken or none by --no-metadata"):
        run_insert(table, settings, metadata=True)
    assert len(all_rows(settings)) == 12
    wide = write_csv(photos.csv, [*header, *map(str, range(20))], [[photos.paths[0], *range(65)]])
    with pytest.raises(InputError, match="leave columns of the table out"):
        run_insert(wide, Settings(uri=milvus_server, collection=settings.collection + "_w", model="builtin"))


def test_the_command_says_what_it_read_and_shows_only_columns_that_are_not_empty(
    lite: Settings, camera: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    print_summary(run_insert(camera[0].parent, lite), lite, as_json=False)
    assert re.search(r"^read from the files: .*width 4, .*taken 3", capsys.readouterr().out, re.M)
    with Searcher(lite) as searcher:
        print_hits(searcher.by_text("a colour"), searcher.field_names)
    table = capsys.readouterr().out
    assert all(column in table for column in ("width", "taken", "camera", "latitude", "modified"))
    assert all(column not in table for column in ("rating", "lens", "title", "keywords"))
    with pytest.raises(InputError, match="give one of them"):
        group.main(["insert", str(camera[0].parent), "--metadata", "--no-metadata"], standalone_mode=False)


@pytest.mark.long
def test_every_key_tells_that_a_column_is_of_the_files(lite: Settings, camera: list[Path]) -> None:
    run_insert(camera[0].parent, lite)
    flags = {read_key(field.key) for field in collection_of(lite).fields() if field.from_file}
    assert {name for name, of in flags if "f" in of} == set(ALL)
