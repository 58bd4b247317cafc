"""A file that broke after it was indexed is no longer found, and the run says so; one that cannot be read is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from benchmarks.hostile_files import qoi_of_differences
from pipelines import Settings, run_insert
from pipelines.operators import image_decode
from tests.support.insert import all_rows, did
from tests.support.photos import Photos
from tests.support.program import CommandResult


@pytest.mark.long
@pytest.mark.parametrize(
    ("uri", "content"),
    [("lite", b"garbage"), ("lite", b""), ("lite", b"\xff\xd8\xff\xe0 cut off"), ("server", b"garbage")],
    indirect=["uri"],
)
def test_a_file_that_broke_is_no_longer_found(
    content: bytes, settings: Settings, photos: Photos, tmp_path: Path
) -> None:
    run_insert(photos.csv, settings)
    good = photos.paths[3].read_bytes()
    photos.paths[3].write_bytes(content)
    rejects = str(tmp_path / "r.csv")
    assert did(run_insert(photos.csv, settings, rejects=rejects)) == {"unchanged": 11, "rejected": 1, "broken": 1}
    assert set(all_rows(settings)) == set(range(12)) - {3}
    assert did(run_insert(photos.csv, settings, rejects=rejects)) == {"unchanged": 11, "rejected": 1}
    photos.paths[3].write_bytes(good)
    assert did(run_insert(photos.csv, settings, rejects=rejects)) == {"unchanged": 11, "inserted": 1}


def test_a_file_that_cannot_be_read_now_is_kept(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    """A missing file, a file that another program has replaced by a folder, and a cell that Milvus cannot store."""
    run_insert(photos.csv, lite)
    photos.paths[3].unlink()
    photos.paths[5].unlink()
    photos.paths[5].mkdir()
    photos.csv.write_text(photos.csv.read_text().replace("label1,2014", f"{'x' * 70_000},2014"))
    assert did(run_insert(photos.csv, lite, rejects=str(tmp_path / "r.csv"))) == {"unchanged": 9, "rejected": 3}
    assert len(all_rows(lite)) == 12


def test_a_file_that_takes_too_long_to_decode_is_rejected(
    lite: Settings, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_decode, "PATIENT_SECONDS", 0.3)
    photos.paths[3].write_bytes(qoi_of_differences(1500))
    others = set(psutil.Process().children())
    assert did(run_insert(photos.csv, lite, rejects=str(tmp_path / "r.csv"))) == {"inserted": 11, "rejected": 1}
    assert "it takes more than 0.3 s to decode" in (tmp_path / "r.csv").read_text()
    assert set(psutil.Process().children()) == others


def test_the_command_says_that_a_file_broke(
    quick_command: Callable[..., CommandResult], photos: Photos, tmp_path: Path
) -> None:
    arguments = ("insert", photos.folder, "--uri", tmp_path / "s.db", "--model", "builtin")
    quick_command(*arguments)
    photos.paths[0].write_bytes(b"garbage")
    result = quick_command(*arguments)
    assert result.status == 1
    assert "broken 1: their files changed and cannot be used; they are no longer found" in result.out
