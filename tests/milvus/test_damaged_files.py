"""Milvus Lite files that are damaged or cannot be written: one line says which, what is lost and what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import Searcher, Settings, run_insert
from pipelines.errors import StoreError
from pipelines.milvus.connection import close
from tests.support.photos import Photos
from tests.support.program import CommandResult, program_env

DATA = "partitions/_default/data"


def cut(file: Path) -> None:
    """Keep the first half of a file."""
    os.truncate(file, file.stat().st_size // 2)


def overwrite(file: Path) -> None:
    """Replace a file's content by zeros, as a power failure may."""
    file.write_bytes(bytes(file.stat().st_size))


@pytest.fixture
def folder(lite: Settings, photos: Photos) -> Path:
    """Index twice, so that there are two files of rows; return the collection's folder."""
    run_insert(photos.csv, lite, limit=7)
    close(lite.uri)
    run_insert(photos.csv, lite)
    close(lite.uri)
    return Path(lite.uri, "collections", "images")


@pytest.mark.long
@pytest.mark.parametrize("harm", [cut, overwrite, Path.unlink])
@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("manifest.json", "without it up to 12 rows cannot be found"),
        ("schema.json", "without it up to 12 rows cannot be read"),
        (f"{DATA}/data_*_000012.parquet", "up to 5 of 12 rows cannot be read"),
    ],
)
def test_a_damaged_file_is_named_and_nothing_more_is_lost(
    lite: Settings, photos: Photos, folder: Path, name: str, lost: str, harm: Callable[[Path], object]
) -> None:
    (file,) = folder.glob(name)
    whole = shutil.copytree(lite.uri, Path(lite.uri).with_name("backup"))
    harm(file)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for use in (lambda: Searcher(lite), lambda: run_insert(photos.csv, lite)):
        with pytest.raises(StoreError) as caught:
            use()
        line = str(caught.value)
        assert line.startswith(f"{file} is ")
        assert lost in line
        assert f"move {folder} away" in line
        assert "\n" not in line
    close(lite.uri)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    shutil.copyfile(whole / file.relative_to(lite.uri), file)
    assert run_insert(photos.csv, lite).unchanged == 12
    close(lite.uri)
    shutil.move(folder, folder.parents[2] / "away")
    assert run_insert(photos.csv, lite).inserted == 12


def test_the_other_collections_of_a_damaged_database_are_searched(lite: Settings, photos: Photos, folder: Path) -> None:
    other = Settings(uri=lite.uri, model="builtin", collection="other")
    run_insert(photos.csv, other)
    close(lite.uri)
    (folder / "manifest.json").unlink()
    assert len(Searcher(other).by_text("red", 20).hits) == 12
    with pytest.raises(StoreError, match=r"manifest\.json is missing"):
        Searcher(lite)


def test_a_damaged_log_is_named(lite: Settings, photos: Photos, folder: Path) -> None:
    log = folder / "wal" / "wal_data_000009.arrow"
    log.parent.mkdir(exist_ok=True)
    log.write_bytes(bytes(1000))
    with pytest.raises(StoreError, match="the last rows that were written are lost; move that file away"):
        Searcher(lite)
    close(lite.uri)
    log.unlink()
    assert len(Searcher(lite).by_text("red", 20).hits) == 12


READER = """
import sys
from pipelines import Searcher, Settings, run_insert
from pipelines.errors import StoreError
settings = Settings(uri=sys.argv[1])
print(sorted(hit.id for hit in Searcher(settings).by_text("red", 20).hits))
print(sorted(hit.id for hit in Searcher(settings).by_text("red", 20, filter="id > 7").hits))
try:
    run_insert(sys.argv[2], settings)
except StoreError as error:
    print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_a_database_that_cannot_be_written_is_searched(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    as_reader = [sys.executable, "-c", READER]
    if os.getuid() == 0:  # no permission stops root unless it gives up this capability
        if not shutil.which("setpriv"):
            pytest.skip("there is no setpriv, and no permission stops root")
        as_reader = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override", *as_reader]
    run_insert(photos.csv, lite, limit=11)
    close(lite.uri)
    files = sorted(Path(lite.uri).rglob("*"))
    before = {file: file.stat().st_mtime_ns for file in files}
    for file in [Path(lite.uri), *files]:
        file.chmod(0o555 if file.is_dir() else 0o444)
    done = subprocess.run(
        [*as_reader, lite.uri, photos.csv], env=program_env(), cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    for file in [Path(lite.uri), *files]:
        file.chmod(0o755)
    assert done.returncode == 0, done.stderr
    found, filtered, refusal = done.stdout.splitlines()
    assert (found, filtered) == (str(list(range(11))), "[8, 9, 10]")
    assert refusal == f"{lite.uri} cannot be written here: it can be searched, not changed; copy it to change it"
    assert {file: file.stat().st_mtime_ns for file in sorted(Path(lite.uri).rglob("*"))} == before


def test_two_runs_at_the_same_moment_name_the_holder(
    lite: Settings, photos: Photos, command: Callable[..., CommandResult]
) -> None:
    run_insert(photos.csv, lite)
    done = command("insert", photos.csv, "--uri", lite.uri)
    assert done.status == 3
    assert f"pid {os.getpid()}" in done.err
