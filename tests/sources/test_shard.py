"""`--shard`: together, the parts of a source hold each row once, in any order and on any machine."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest

from pipelines import Settings, run_insert
from pipelines.errors import InputError
from pipelines.milvus.collection import Collection
from pipelines.sources import open_source
from pipelines.sources.source import WHOLE, Row, Shard
from tests.support.photos import Photos, draw_images, write_csv
from tests.support.prepared import QUIET, PreparedProgram
from tests.support.program import program_env


def rows_of(source: Path, shard: Shard = WHOLE, limit: int = 0) -> list[Row]:
    opened = open_source(source, limit, shard)
    rows = list(chain.from_iterable(opened.chunks(7)))
    assert opened.total == len(rows)
    return rows


def parts(source: Path, of: int, limit: int = 0) -> list[list[Row]]:
    return [rows_of(source, Shard(number, of), limit) for number in range(1, of + 1)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "a.csv", ["path", "n"], [[f"{n}.jpg", n] for n in range(1000)])


@pytest.mark.parametrize("of", [1, 2, 3, 16])
def test_every_row_of_a_csv_is_in_exactly_one_part_and_the_parts_are_alike(table: Path, of: int) -> None:
    shards = parts(table, of)
    assert sorted(chain.from_iterable(shards), key=lambda row: row.line) == rows_of(table)
    assert all(row.line < after.line for rows in shards for row, after in pairwise(rows))
    assert max(map(len, shards)) < 1.5 * 1000 / of


def test_every_image_of_a_folder_is_in_exactly_one_part(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"{number}.jpg").touch()
    assert sorted(chain.from_iterable(parts(tmp_path, 3)), key=lambda row: row.line) == rows_of(tmp_path)


def test_neither_the_order_nor_other_rows_move_a_row_to_another_part(table: Path, tmp_path: Path) -> None:
    rows = [[f"{n}.jpg", n] for n in range(100, 1200)]
    random.Random(0).shuffle(rows)
    other = write_csv(tmp_path / "b.csv", ["path", "n"], rows)
    for before, after in zip(parts(table, 4), parts(other, 4), strict=True):
        common = {row.id for row in rows_of(table)} & {row.id for row in rows_of(other)}
        assert {row.id for row in before} & common == {row.id for row in after} & common
        assert len(common) == 900


@pytest.mark.parametrize("step", [1, 2, 16, 1024])
def test_regular_ids_are_spread_too(step: int) -> None:
    ids = np.arange(-5000, 5000) * step
    sizes = [int(Shard(number, 16).takes(ids).sum()) for number in range(1, 17)]
    assert sum(sizes) == 10_000
    assert 500 < min(sizes) < max(sizes) < 750


def test_a_rows_part_never_changes() -> None:
    """Shards of different versions of this program may run side by side."""
    ids = [0, 1, 2, 3, 2**62, -1, -(2**63)]
    assert [next(n for n in range(1, 17) if Shard(n, 16).takes([one])[0]) for one in ids] == EXPECTED


EXPECTED = [1, 6, 11, 1, 6, 12, 11]


def test_a_limit_is_of_the_source_and_the_parts_share_it(table: Path) -> None:
    assert sorted(row.line for row in chain.from_iterable(parts(table, 3, limit=50))) == list(range(2, 52))


def test_all_parts_agree_on_the_columns(tmp_path: Path) -> None:
    """One late word makes a column text, even in the parts without it, because all parts fill one collection."""
    table = write_csv(tmp_path / "a.csv", ["path", "n"], [[f"{n}.jpg", "x" if n == 99 else n] for n in range(100)])
    assert len({open_source(table, shard=Shard(number, 8)).fields for number in range(1, 9)}) == 1


def test_a_part_may_be_empty(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "a.csv", ["path"], [["a.jpg"], ["b.jpg"]])
    assert Counter(map(len, parts(table, 50)))[0] >= 48


def test_what_is_wrong_in_another_part_is_refused_by_all(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "a.csv", ["path"], [["a.jpg"], ["a.jpg"]])
    for number in (1, 2, 3):
        with pytest.raises(InputError, match="the same path twice"):
            open_source(table, shard=Shard(number, 3))


@pytest.mark.parametrize(("text", "shard"), [("", WHOLE), ("1/1", WHOLE), ("3/16", Shard(3, 16)), (" 3 / 16", (3, 16))])
def test_a_part_is_written_as_a_number_and_a_count(text: str, shard: Shard) -> None:
    assert Shard.parse(text) == shard


@pytest.mark.parametrize(
    "text", ["0/16", "17/16", "3", "3/", "/16", "a/b", "-1/2", "1/0", "1.5/2", "3/16/2", "1/999999"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"as 3/16 .*, not '"):
        Shard.parse(text)


def test_parts_inserted_one_after_the_other_are_the_whole(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    counts = [run_insert(photos.csv, lite, shard=f"{number}/3").inserted for number in (1, 2, 3)]
    assert sum(counts) == 12
    assert run_insert(photos.csv, lite).unchanged == 12
    assert run_insert(photos.csv, lite, shard="2/3").rows == counts[1]


def test_parts_run_at_once_against_one_server_and_each_lists_its_own_rejects(
    milvus_server: str, tmp_path: Path, prepared_program: PreparedProgram
) -> None:
    paths = draw_images(tmp_path / "photos", 60)
    for path in paths[::10]:
        path.write_bytes(b"no image")
    table = write_csv(tmp_path / "photos.csv", ["id", "path"], list(enumerate(paths)))
    collection = f"shard_{uuid.uuid4().hex[:8]}"
    command = ["insert", str(table), "--uri", milvus_server, "--model", "builtin", "--collection", collection]
    running, env = [], program_env(QUIET)
    for number in (1, 2, 3):
        (tmp_path / f"{number}").mkdir()
        part = [*command, "--shard", f"{number}/3"]
        running.append(prepared_program.start(part, tmp_path, tmp_path / f"{number}", env))
    assert {process.wait() for process in running} <= {0, 1}, [file.read_text() for file in tmp_path.glob("[123]/err")]
    collection = Collection(milvus_server, collection)
    try:
        good = set(range(60)) - set(range(0, 60, 10))
        assert set(collection.get(list(range(60)), ["path"])) == good
        lists = [path.read_text() for path in tmp_path.glob("rejected-*-of-3.csv")]
        assert sum(text.count("not an image") for text in lists) == 6
        assert not (tmp_path / "rejected.csv").exists()
    finally:
        collection.drop()


def test_a_malformed_part_is_status_2(quick_command, photos: Photos) -> None:
    result = quick_command("insert", photos.csv, "--shard", "3-16")
    assert (result.status, result.out) == (2, "")
    assert result.err == "error: --shard is a number and a count, as 3/16 (the first is 1/16), not '3-16'\n"
