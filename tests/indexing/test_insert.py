"""The insert run, on Milvus Lite and on a server: what is stored, what a second run does, what a bad image costs."""

from __future__ import annotations

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipelines import Searcher, Settings, build_insert, run_insert
from pipelines.engine import run
from pipelines.errors import InputError, SearchError, StoreError, StoreFull, StoreLocked
from pipelines.fields import EMBEDDING
from pipelines.milvus import lite as disk
from pipelines.milvus.collection import Collection
from pipelines.models.clip import load_model
from tests.support.insert import collection_of, counts, did, distinct_copies, read_rejects
from tests.support.photos import Photos, draw_images, write_csv
from tests.support.program import program_env, start_program


def test_rows_are_stored_with_path_fields_and_a_unit_embedding(settings: Settings, photos: Photos) -> None:
    summary = run_insert(photos.csv, settings)
    assert counts(summary) == (12, 0, 0, 0)
    stored = collection_of(settings).get(list(range(12)), ["path", "label", "year", EMBEDDING])
    assert len(stored) == 12
    assert stored[7]["path"] == str(photos.paths[7])
    assert (stored[7]["label"], stored[7]["year"]) == ("label1", 2017)
    assert np.linalg.norm(stored[7][EMBEDDING]) == pytest.approx(1, abs=1e-5)
    assert collection_of(settings).count() == 12


def test_a_second_run_changes_nothing(settings: Settings, photos: Photos) -> None:
    run_insert(photos.csv, settings)
    assert counts(run_insert(photos.csv, settings)) == (0, 0, 12, 0)
    assert collection_of(settings).count() == 12


def test_bad_images_are_listed_and_cost_nobody_else(settings: Settings, photos: Photos, tmp_path: Path) -> None:
    photos.paths[0].write_bytes(b"")
    photos.paths[5].write_bytes(photos.paths[5].read_bytes()[:700])
    photos.paths[11].unlink()
    rejects = tmp_path / "out" / "rejects.csv"
    rejects.parent.mkdir()
    summary = run_insert(photos.csv, settings, rejects=str(rejects))
    assert counts(summary) == (9, 0, 0, 3)
    rows = read_rejects(rejects)
    assert [row["id"] for row in rows] == ["0", "5", "11"]
    assert rows[0] == {
        "id": "0", "path": str(photos.paths[0]), "reason": "the file is empty", "source": str(photos.csv),
    }  # fmt: skip
    assert "truncated" in rows[1]["reason"]
    assert rows[2]["reason"] == "no such file"
    assert set(collection_of(settings).get(list(range(12)), ["path"])) == set(range(12)) - {0, 5, 11}


def test_what_milvus_cannot_store_costs_one_row(settings: Settings, photos: Photos, tmp_path: Path) -> None:
    photos.csv.write_text(photos.csv.read_text().replace("label1,2014", f"{'é' * 40_000},2014"))
    summary = run_insert(photos.csv, settings, rejects=str(tmp_path / "r.csv"))
    assert counts(summary) == (11, 0, 0, 1)
    assert read_rejects(tmp_path / "r.csv")[0]["reason"] == "column 'label' is longer than 65535 bytes"


@pytest.mark.skipif(sys.platform != "linux", reason="only there file names are bytes")
def test_a_file_name_that_is_not_utf_8_costs_one_row(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    odd = os.fsencode(photos.folder) + b"/\xff\xfe.jpg"
    os.rename(photos.paths[0], odd)
    summary = run_insert(photos.folder, lite, rejects=str(tmp_path / "r.csv"))
    assert counts(summary) == (11, 0, 0, 1)
    (row,) = read_rejects(tmp_path / "r.csv")
    assert row["path"].endswith(r"\udcff\udcfe.jpg")
    assert row["reason"] == "the file name is not valid UTF-8; rename the file"


def test_a_batch_of_nothing_but_bad_images_is_no_problem(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    for path in photos.paths:
        path.write_bytes(b"no image")
    summary = run_insert(photos.csv, lite, rejects=str(tmp_path / "r.csv"))
    assert counts(summary) == (0, 0, 0, 12)
    assert collection_of(lite).count() == 0


@pytest.mark.long
@pytest.mark.parametrize("batch_size", [1, 5, 12, 100])
def test_the_batch_size_does_not_change_the_result(lite: Settings, photos: Photos, batch_size: int) -> None:
    settings = Settings(uri=lite.uri, model="builtin", collection=f"b{batch_size}", batch_size=batch_size)
    assert counts(run_insert(photos.csv, settings)) == (12, 0, 0, 0)
    stored = collection_of(settings).get(list(range(12)), ["path"])
    assert [stored[number]["path"] for number in range(12)] == list(map(str, photos.paths))


def test_empty_cells_are_empty_in_any_column(settings: Settings, photos: Photos) -> None:
    photos.csv.write_text(photos.csv.read_text().replace("label0,2010", ","))
    run_insert(photos.csv, settings)
    stored = collection_of(settings).get([0, 1], ["label", "year"])
    assert (stored[0]["label"], stored[0]["year"]) == ("", None)
    assert stored[1]["year"] == 2011


def test_a_folder_is_indexed_with_its_names_as_labels(lite: Settings, tmp_path: Path) -> None:
    draw_images(tmp_path / "album" / "cats", 3)
    draw_images(tmp_path / "album" / "dogs", 2)
    assert did(run_insert(tmp_path / "album", lite)) == {"inserted": 3, "deduplicated": 2}  # the drawn images are equal
    rows = collection_of(lite).query("label == 'cats'", ["label"])
    assert len(rows) == 3


def test_two_sources_share_a_collection(lite: Settings, tmp_path: Path) -> None:
    """Ids that are derived from paths do not collide between folders that hold equal names."""
    draw_images(tmp_path / "a", 3)
    draw_images(tmp_path / "b", 3)
    run_insert(tmp_path / "a", lite)
    assert did(run_insert(tmp_path / "b", lite)) == {"deduplicated": 3}
    assert collection_of(lite).count() == 6


def test_limit_takes_the_first_rows(lite: Settings, photos: Photos) -> None:
    assert counts(run_insert(photos.csv, lite, limit=5)) == (5, 0, 0, 0)


def test_progress_reaches_the_end(lite: Settings, photos: Photos) -> None:
    seen: list[tuple[int, int]] = []
    run_insert(photos.csv, lite, on_progress=lambda summary, total: seen.append((summary.rows, total)))
    assert seen[-1] == (12, 12)
    assert seen == sorted(seen)


@pytest.mark.long
def test_new_and_wider_columns_are_taken_without_an_embedding(
    settings: Settings, photos: Photos, tmp_path: Path
) -> None:
    run_insert(photos.csv, settings, metadata=False)
    other = write_csv(tmp_path / "o.csv", ["id", "path", "Farbe 1"], [[99, "photos/00001.jpg", "red"]])
    summary = run_insert(other, settings)
    assert did(summary) == {"deduplicated": 1}
    assert summary.copied == 12
    assert run_insert(other, settings).copied == 0
    words = write_csv(tmp_path / "w.csv", ["id", "path", "year"], [[98, "photos/00001.jpg", "long ago"]])
    assert did(run_insert(words, settings)) == {"deduplicated": 1}
    assert did(run_insert(photos.csv, settings)) == {"unchanged": 12}
    searcher = Searcher(settings)
    assert {field.name: field.type.value for field in searcher.fields} == {
        "label": "text",
        "year": "text",
        "Farbe 1": "text",
    }
    found = {hit.id: hit.fields for hit in searcher.by_text("a photo", limit=20).hits}
    assert found[99] == {"label": "", "year": "", "Farbe 1": "red"}
    assert found[98]["year"] == "long ago"
    years = {int(row["id"]): row["year"] for row in csv.DictReader(photos.csv.read_text().splitlines())}
    assert {number: found[number]["year"] for number in years} == years


def test_a_copy_for_new_columns_needs_room(
    lite: Settings, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_insert(photos.csv, lite, metadata=False)
    other = write_csv(tmp_path / "o.csv", ["id", "path", "colour"], [[99, "photos/00001.jpg", "red"]])
    monkeypatch.setattr(disk, "MIN_FREE_BYTES", 1 << 60)
    with pytest.raises(StoreFull, match="has to be copied once"):
        run_insert(other, lite)
    assert [field.name for field in collection_of(lite).fields()] == ["label", "year"]


def test_a_shard_leaves_new_columns_to_a_run_without_shard(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    run_insert(photos.csv, lite)
    other = write_csv(tmp_path / "o.csv", ["id", "path", "colour"], [[99, "photos/00001.jpg", "red"]])
    with pytest.raises(InputError, match=r"run this source without --shard first"):
        run_insert(other, lite, shard="1/2")
    assert collection_of(lite).count() == 12


@pytest.mark.long
def test_a_copy_for_new_columns_that_was_killed_goes_on(
    lite: Settings, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_insert(photos.csv, lite)
    other = write_csv(tmp_path / "o.csv", ["id", "path", "colour"], [[99, "photos/00001.jpg", "red"]])
    with monkeypatch.context() as patched:
        patched.setattr(Collection, "flush", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_insert(other, lite)
    collection_of(lite).delete([0])  # the collection has changed since
    summary = run_insert(other, lite)
    assert (did(summary), summary.copied) == ({"deduplicated": 1}, 11)
    assert sorted(collection_of(lite).get(list(range(100)), [])) == [*range(1, 12), 99]
    assert not Collection(lite.uri, lite.collection + "__rebuild").exists()


def test_missing_columns_are_stored_empty(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    run_insert(photos.csv, lite)
    bare = write_csv(tmp_path / "bare.csv", ["id", "path"], [[99, "photos/00001.jpg"]])
    assert did(run_insert(bare, lite)) == {"deduplicated": 1}
    assert collection_of(lite).get([99], ["label", "year"])[99]["label"] == ""


def test_somebody_elses_collection_is_left_alone(settings: Settings, photos: Photos) -> None:
    client = collection_of(settings).client
    client.create_collection(settings.collection, dimension=256)
    with pytest.raises(StoreError, match="was not made by this program"):
        run_insert(photos.csv, settings)


def test_the_pipeline_itself_can_be_called_and_profiled(lite: Settings, photos: Photos) -> None:
    run_insert(photos.csv, lite, limit=1, metadata=False)
    pipeline = build_insert(load_model("builtin"), collection_of(lite), lite)
    row = {
        "id": 500,
        "path": "x",
        "_mtime_ns": 0,
        "_size": 0,
        "_model": "m",
        "_hash": "",
        "_source": "",
        "label": "",
        "year": 1,
    }
    assert run(pipeline, [row], [str(photos.paths[1])]) == [[""], [{}], [True]]
    view = pipeline.debug([row], [str(photos.paths[1])], profiler=True)
    names = [report["node"] for report in view.profiler.pipes_profiler[0].node_report.values()]
    assert [name.split("-")[0] for name in names[1:-1]] == ["image", "image", "towhee/np", "ann"]


def test_profile_reports_every_step(lite: Settings, photos: Photos) -> None:
    steps = run_insert(photos.csv, lite, profile=True).step_seconds
    expected = {"image-decode/cv2", "image-text-embedding/clip", "towhee/np-normalize", "ann-insert/milvus-rows"}
    assert expected | {"compare with the collection"} == set(steps)
    assert steps["image-text-embedding/clip"] > 0


@pytest.mark.long
def test_decoding_overlaps_with_embedding(lite: Settings, photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one batch is in the model, another is being decoded."""
    from pipelines.operators.embedding import ClipEmbedding
    from pipelines.operators.image_decode import ImageDecode

    spans: dict[str, list[tuple[float, float]]] = {"decode": [], "embed": []}

    def record(operator: type, name: str) -> None:
        original = operator.__call__

        def timed(self: object, items: object) -> object:
            start = time.perf_counter()
            result = original(self, items)
            spans[name].append((start, time.perf_counter()))
            return result

        monkeypatch.setattr(operator, "__call__", timed)

    record(ImageDecode, "decode")
    record(ClipEmbedding, "embed")
    paths = distinct_copies(photos.paths[0], photos.folder / "many", 500)
    rows = list(enumerate(paths))
    run_insert(write_csv(photos.folder / "long.csv", ["id", "path"], rows), dataclasses.replace(lite, batch_size=32))
    overlapping = [
        (start, end)
        for start, end in spans["embed"]
        if any(other_start < end and start < other_end for other_start, other_end in spans["decode"])
    ]
    assert len(spans["embed"]) == 16
    assert len(overlapping) > 8


def test_a_failing_milvus_ends_the_run_with_its_own_error(lite: Settings, photos: Photos) -> None:
    """An exception inside an operator is raised as itself, not as Towhee's text about it."""
    run_insert(photos.csv, lite, limit=1)
    pipeline = build_insert(load_model("builtin"), collection_of(lite), lite)
    with pytest.raises(SearchError, match="Milvus"):
        run(pipeline, [{"id": 5}], [str(photos.paths[1])])


def test_unusable_lite_files_are_named_with_the_way_out(photos: Photos, tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    old.write_bytes(b"SQLite format 3\0" + b"\0" * 100)
    with pytest.raises(StoreError, match="made by Milvus Lite 2"):
        run_insert(photos.csv, Settings(uri=str(old), model="builtin"))
    with pytest.raises(InputError, match=r"ending in \.db"):
        run_insert(photos.csv, Settings(uri=str(tmp_path / "index"), model="builtin"))


def test_a_file_in_use_names_the_process(photos: Photos, lite: Settings) -> None:
    code = (
        "import sys, time; from pipelines.milvus.connection import connect; connect(sys.argv[1]);"
        "print('open', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, lite.uri], env=program_env(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "open"
        with pytest.raises(StoreLocked, match=rf"open in another process \(pid {holder.pid}: "):
            run_insert(photos.csv, lite)
    finally:
        holder.kill()
        holder.communicate()


def test_ctrl_c_finishes_what_is_in_hand_and_the_next_run_does_the_rest(
    lite: Settings, photos: Photos, tmp_path: Path
) -> None:
    rows = list(enumerate(distinct_copies(photos.paths[0], tmp_path / "many", 6_000)))
    table = write_csv(tmp_path / "long.csv", ["id", "path"], rows)
    process = start_program(tmp_path, "insert", str(table), "--uri", lite.uri, "--model", "builtin")
    wal = Path(lite.uri)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and sum(f.stat().st_size for f in wal.rglob("*") if f.is_file()) < 500_000:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "run the same command again to go on" in out
    assert "Traceback" not in err
    stored = collection_of(lite).count()
    assert 0 < stored < 6_000
    assert f"{stored:,} inserted" in out
    rest = run_insert(table, lite, limit=stored + 200)
    assert (rest.inserted, rest.unchanged) == (200, stored)
