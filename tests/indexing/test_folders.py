"""A run over a folder reports what it left out, lists what it cannot read, and keeps what it cannot see."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pipelines import Settings, run_insert
from pipelines.errors import InputError
from pipelines.milvus.collection import Collection
from tests.support.images import quadrants
from tests.support.photos import Photos
from tests.support.program import program_env
from tests.support.raw_images import dng


def folder_of(photos: Photos, folder: Path, *names: str) -> Path:
    """Make a folder that holds a copy of one photo under each name."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos.paths[0], folder / name)
    return folder


def test_kinds_that_cannot_be_read_are_listed_and_leave_status_0(quick_command, photos: Photos, tmp_path: Path) -> None:
    folder = folder_of(photos, tmp_path / "in", "a.jpg", "b.psb", "c.mp4", "@eaDir/d.jpg")
    rejects = tmp_path / "list.csv"
    result = quick_command("insert", folder, "--model", "builtin", "--rejects", rejects)
    assert result.status == 0
    assert "files of kinds that cannot be read: 2" in result.out
    assert "thumbnails and bins left out: 1" in result.err
    assert {line.split(",")[1:][0] for line in rejects.read_text().splitlines()[1:]} == {
        f"{folder}/b.psb", f"{folder}/c.mp4",
    }  # fmt: skip


@pytest.mark.long
def test_a_raw_photo_is_indexed_unless_it_stands_beside_its_jpeg(
    lite: Settings, photos: Photos, tmp_path: Path
) -> None:
    pytest.importorskip("rawpy", reason="RAW is an extra: pip install rawpy")
    folder = folder_of(photos, tmp_path / "in", "a.jpg", "a.CR2")
    (folder / "b.dng").write_bytes(dng(quadrants(64, 64)))
    summary = run_insert(folder, lite, rejects=str(tmp_path / "list.csv"))
    assert (summary.inserted, summary.rejected, summary.unsupported) == (2, 0, 0)
    assert summary.notes == ["RAW photos left out beside a JPEG of the same name: 1"]


def test_kinds_that_cannot_be_read_are_rejects_in_a_csv(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    folder = folder_of(photos, tmp_path / "in", "a.jpg")
    (folder / "b.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    (folder / "a.csv").write_text("file\na.jpg\nb.mp4\n")
    summary = run_insert(folder / "a.csv", lite, rejects=str(tmp_path / "list.csv"))
    assert (summary.inserted, summary.rejected, summary.unsupported) == (1, 1, 0)
    assert summary.notes == ["the column 'file' holds the paths"]


def test_a_dataframe_is_indexed_but_cannot_be_pruned_by(lite: Settings, photos: Photos) -> None:
    frame = pd.DataFrame({"path": [str(photos.paths[0])], "n": [3]})
    assert run_insert(frame, lite).inserted == 1
    assert run_insert(frame, lite).unchanged == 1
    with pytest.raises(InputError, match="a DataFrame has no name"):
        run_insert(frame, lite, prune=lambda gone, total: True)


def test_a_trial_with_a_limit_stores_the_types_of_the_whole_csv(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_text(f"path,year\n{photos.paths[0]},2020\n{photos.paths[1]},unknown\n")
    assert run_insert(table, lite, limit=1).inserted == 1
    assert run_insert(table, lite).rows == 2


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("setpriv"), reason="drops root's rights by setpriv")
@pytest.mark.parametrize("mode", [0o000, 0o444])  # cannot be listed; can be listed, but its files cannot be read
def test_nothing_is_pruned_below_a_folder_that_cannot_be_looked_into(
    mode: int, lite: Settings, photos: Photos, tmp_path: Path
) -> None:
    folder = folder_of(photos, tmp_path / "in", "a.jpg", "gone.jpg", "locked/b.jpg")
    ordinary = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    insert = [*ordinary, sys.executable, "-m", "pipelines", "insert", str(folder), "--uri", lite.uri]

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [*insert, "--model", "builtin", *options]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=program_env(), timeout=120)

    assert run().returncode == 0
    (folder / "gone.jpg").unlink()
    (folder / "locked").chmod(mode)
    done = run("--prune", "--yes")
    (folder / "locked").chmod(0o755)
    assert done.returncode == 1, done.stderr
    assert "removed 1 row whose" in done.stdout
    if mode == 0:
        assert f"{folder}/locked cannot be listed (Permission denied)" in done.stderr
    collection = Collection(lite.uri, lite.collection)
    assert {Path(row["path"]).name for rows in collection.scan("", ["path"]) for row in rows} == {"a.jpg", "b.jpg"}
