"""The list of rejected images: what it never overwrites, what stays in it, and how its rows are tried again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import Settings, run_insert
from pipelines.errors import InputError
from pipelines.fields import SOURCE
from pipelines.indexing.reject_file import RejectFile
from pipelines.milvus.schema import join_sources
from pipelines.sources.source import Row
from tests.support.insert import all_rows, collection_of, did, read_rejects
from tests.support.photos import Photos, write_csv
from tests.support.program import CommandResult

Command = Callable[..., CommandResult]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def break_file(path: Path) -> bytes:
    """Overwrite a file with something that is no image; return what it held."""
    data = path.read_bytes()
    path.write_bytes(b"no image")
    return data


@pytest.mark.long
@pytest.mark.parametrize("content", ["path,label\na.jpg,x\n", "id,path,reason,comment\n1,a.jpg,dark,\n", "notes\n"])
@pytest.mark.parametrize("rejects", ["", "rejected.csv"])
def test_a_file_that_is_no_list_of_ours_stops_the_run(
    lite: Settings, photos: Photos, content: str, rejects: str
) -> None:
    mine = Path("rejected.csv")
    mine.write_text(content)
    with pytest.raises(InputError, match="stays as it is: name another file with --rejects"):
        run_insert(photos.csv, lite, rejects=rejects)
    assert mine.read_text() == content
    assert not Path(lite.uri).exists()
    assert did(run_insert(photos.csv, lite, rejects="other.csv")) == {"inserted": 12}


def test_training_keeps_a_file_of_that_name_too(quick_command: Command, photos: Photos) -> None:
    Path("rejected.csv").write_text("path\nmine.jpg\n")
    done = quick_command("train", photos.csv, "--out", "trained", "--model", "builtin")
    assert (done.status, Path("rejected.csv").read_text()) == (2, "path\nmine.jpg\n")
    assert "--rejects" in done.err
    assert not Path("trained").exists()


def test_a_source_is_never_its_own_list(lite: Settings, photos: Photos) -> None:
    source = write_csv(Path("rejected.csv"), ["path", "label"], [[photos.paths[0], "x"], ["nope.jpg", "y"]])
    before = source.read_bytes()
    with pytest.raises(InputError, match="--rejects"):
        run_insert(source, lite)
    with pytest.raises(InputError, match="--rejects"):
        run_insert(source, lite, rejects="../cwd/rejected.csv")
    assert source.read_bytes() == before
    assert not Path(lite.uri).exists()


def test_a_place_that_cannot_be_written_stops_the_run_before_any_work(lite: Settings, photos: Photos) -> None:
    for place in (photos.folder, photos.folder / "missing" / "list.csv", photos.csv / "list.csv"):
        with pytest.raises(InputError, match="--rejects"):
            run_insert(photos.csv, lite, rejects=str(place))
    assert not Path(lite.uri).exists()


def test_a_list_is_tried_again_for_the_source_that_it_records(settings: Settings, photos: Photos) -> None:
    data = [break_file(photos.paths[number]) for number in (3, 4)]
    assert did(run_insert(photos.csv, settings)) == {"inserted": 10, "rejected": 2}
    listed = Path("rejected.csv")
    before = listed.read_bytes()
    assert [row["source"] for row in read_rejects(listed)] == [str(photos.csv)] * 2
    photos.paths[3].write_bytes(data[0])
    summary = run_insert(listed, settings)
    assert did(summary) == {"inserted": 1, "rejected": 1}
    assert str(photos.csv) in " ".join(summary.notes)
    assert (listed.read_bytes(), summary.rejects_file) == (before, "rejected-again.csv")
    row = all_rows(settings)[3]
    assert (row["label"], row["year"], row["_source"]) == ("label0", 2013, str(photos.csv))
    assert [field.name for field in collection_of(settings).fields() if not field.from_file] == ["label", "year"]
    photos.paths[4].write_bytes(data[1])
    assert did(run_insert(summary.rejects_file, settings)) == {"inserted": 1}
    assert did(run_insert(photos.csv, settings)) == {"unchanged": 12}
    assert not listed.exists()


def test_the_rows_of_a_folder_and_of_a_source_that_is_gone_are_tried_again(lite: Settings, photos: Photos) -> None:
    data = break_file(photos.paths[5])
    run_insert(photos.folder, lite)
    photos.paths[5].write_bytes(data)
    assert did(run_insert("rejected.csv", lite)) == {"inserted": 1}
    assert did(run_insert(photos.folder, lite)) == {"unchanged": 12}
    twin = write_csv(photos.folder / "twin.csv", ["id", "path"], [[99, photos.folder / "late.jpg"]])
    run_insert(twin, lite)
    twin.unlink()
    (photos.folder / "late.jpg").write_bytes(data + b"late")
    assert did(run_insert("rejected.csv", lite)) == {"inserted": 1}
    assert all_rows(lite)[99]["_source"] == str(twin)


def test_a_list_is_removed_when_all_its_rows_are_mended(lite: Settings, photos: Photos) -> None:
    data = [break_file(photos.paths[number]) for number in (3, 4)]
    run_insert(photos.csv, lite)
    photos.paths[3].write_bytes(data[0])
    run_insert(photos.csv, lite)
    assert [row["id"] for row in read_rejects(Path("rejected.csv"))] == ["4"]
    photos.paths[4].write_bytes(data[1])
    assert run_insert(photos.csv, lite).rejects_file == ""
    assert not Path("rejected.csv").exists()


def test_rows_that_a_run_has_not_looked_at_stay_listed(lite: Settings, photos: Photos) -> None:
    data = [break_file(photos.paths[number]) for number in (1, 10)]
    run_insert(photos.csv, lite)
    other = write_csv(photos.folder / "other.csv", ["id", "path"], [[77, "nope.jpg"]])
    run_insert(other, lite)
    assert [row["id"] for row in read_rejects(Path("rejected.csv"))] == ["1", "10", "77"]
    photos.paths[1].write_bytes(data[0])
    run_insert(photos.csv, lite, limit=5)
    assert [row["id"] for row in read_rejects(Path("rejected.csv"))] == ["10", "77"]
    photos.csv.write_text("".join(photos.csv.read_text().splitlines(keepends=True)[:-2]))  # rows 10 and 11 are gone
    run_insert(photos.csv, lite)
    assert [row["id"] for row in read_rejects(Path("rejected.csv"))] == ["77"]


def test_lists_of_before_and_torn_ones_are_recognised(lite: Settings, photos: Photos) -> None:
    data = break_file(photos.paths[3])
    listed = Path("rejected.csv")
    listed.write_text(f"id,path,reason\r\n3,{photos.paths[3]},torn\r\n70,/elsewhere.jpg,no such file\r\n71,/tor")
    run_insert(photos.csv, lite)
    assert [(row["id"], row["source"]) for row in read_rejects(listed)] == [
        ("70", ""),
        ("3", str(photos.csv)),
    ]
    photos.paths[3].write_bytes(data)
    assert did(run_insert(listed, lite)) == {"inserted": 1, "rejected": 1}
    assert all_rows(lite)[3]["label"] == "label0"


def test_a_row_of_several_sources_is_listed_for_the_first() -> None:
    rejects = RejectFile("list.csv", "/new.csv")
    rejects.add(Row(1, "/a.jpg", 0, {SOURCE: join_sources(["/one.csv", "/two"])}), "torn")
    rejects.add(Row(2, "/b.jpg", 0, {}), "torn")
    rejects.finish(is_whole=True)
    assert [row["source"] for row in read_rejects(Path("list.csv"))] == ["/one.csv", "/new.csv"]


def test_a_list_may_be_a_link_or_a_device(lite: Settings, photos: Photos) -> None:
    break_file(photos.paths[3])
    assert run_insert(photos.csv, lite, rejects="/dev/null").rejected == 1
    Path("link.csv").symlink_to("real.csv")
    run_insert(photos.csv, lite, rejects="link.csv")
    assert Path("link.csv").is_symlink()
    assert [row["id"] for row in read_rejects(Path("real.csv"))] == ["3"]
