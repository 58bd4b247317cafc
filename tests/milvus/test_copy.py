"""Copies of collections from one Milvus to another: checked, resumable, and refused if they cannot be right."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pipelines import Settings, run_insert
from pipelines.errors import CollectionNotFound, InputError, ModelMismatch, StoreError
from pipelines.milvus.collection import Collection
from pipelines.milvus.connection import close_all
from pipelines.milvus.copy import CopySummary, copy_collection
from pipelines.milvus.index import Index
from pipelines.milvus.schema import split_sources
from tests.support.insert import all_rows, collection_of
from tests.support.photos import Photos
from tests.support.program import CommandResult


def equal(one: dict[int, dict[str, object]], other: dict[int, dict[str, object]]) -> bool:
    """Tell whether all rows and values are equal, vectors bit by bit."""
    return one.keys() == other.keys() and all(
        np.array_equal(np.asarray(row.pop("embedding")), np.asarray(other[key].pop("embedding"))) and row == other[key]
        for key, row in one.items()
    )


def other_end(settings: Settings, uri: str) -> Settings:
    return Settings(uri=uri, collection=f"c_{uuid.uuid4().hex[:12]}", model="builtin")


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Settings]:
    yield Settings(uri=str(tmp_path / "second.db"), collection="copy", model="builtin")
    close_all()


def test_a_collection_is_copied_to_a_server_and_back(
    lite: Settings, second: Settings, milvus_server: str, photos: Photos
) -> None:
    """Rows, columns, empty cells and vectors; a second copy copies nothing; an insert into the copy embeds nothing."""
    photos.csv.write_text(photos.csv.read_text().replace("label0,2010", ","))
    run_insert(photos.csv, lite)
    there = other_end(lite, milvus_server)
    summary = copy_collection(collection_of(lite), collection_of(there))
    assert (summary.copied, summary.unchanged, summary.sampled, summary.different) == (12, 0, 12, 0)
    assert summary.verified
    assert collection_of(there).index == Index("FLAT", "COSINE", {}, wanted="AUTO")
    again = copy_collection(collection_of(lite), collection_of(there))
    assert (again.copied, again.unchanged, again.verified) == (0, 12, True)
    back = copy_collection(collection_of(there), collection_of(second))
    assert (back.copied, back.verified) == (12, True)
    assert collection_of(second).index.type == "FLAT"
    assert equal(all_rows(lite), all_rows(second))
    assert run_insert(photos.csv, there).unchanged == 12


@pytest.mark.long
def test_a_file_is_copied_to_a_file_with_empty_cells_and_progress(
    lite: Settings, second: Settings, photos: Photos
) -> None:
    photos.csv.write_text(photos.csv.read_text().replace("label0,2010", ","))
    run_insert(photos.csv, lite)
    seen: list[int] = []
    summary = copy_collection(collection_of(lite), collection_of(second), lambda done: seen.append(done.rows))
    assert (summary.verified, seen) == (True, [12])
    assert summary.rows_per_second == round(12 / summary.seconds, 1)  # over the whole time of the copy
    assert all_rows(second)[0]["year"] is None
    assert equal(all_rows(lite), all_rows(second))


@pytest.mark.long
def test_an_interrupted_copy_continues(lite: Settings, second: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = collection_of(lite), collection_of(second)
    many_rows(source, 3500)

    def stop(done: CopySummary) -> None:
        if done.rows == 2000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_collection(source, target, stop)
    assert target.count() == 2000
    summary = copy_collection(source, target)
    assert (summary.copied, summary.unchanged, summary.verified) == (1500, 2000, True)
    assert 1000 <= summary.sampled <= 2200, "of the source, and of what the target held"


def many_rows(collection: Collection, count: int, model_id: str = "m@1") -> None:
    collection.create(8, ())
    vectors = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
    own = {"_mtime_ns": 0, "_size": 0, "_model": model_id, "_source": ""}
    collection.upsert(
        {"id": number, "path": "x", "_hash": f"{number:032x}", "embedding": vectors[number], **own}
        for number in range(count)
    )


@pytest.mark.long
def test_a_difference_after_the_copy_is_found(
    lite: Settings, second: Settings, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One vector arrives changed, and one row does not arrive."""
    run_insert(photos.csv, lite)
    original = Collection.upsert

    def damaged(self: Collection, rows: object) -> int:
        rows = [dict(row) for row in rows]  # type: ignore[attr-defined]
        rows[3]["embedding"] = rows[4]["embedding"]
        return original(self, rows[:-1])

    monkeypatch.setattr(Collection, "upsert", damaged)
    summary = copy_collection(collection_of(lite), collection_of(second))
    assert (summary.rows_in_source, summary.rows_in_target, summary.different) == (12, 11, 2)
    assert not summary.verified


@pytest.mark.long
def test_a_copy_keeps_what_only_the_target_has(lite: Settings, second: Settings, photos: Photos) -> None:
    """The target keeps its columns, its rows, and the other sources of a row; a second copy changes nothing."""
    run_insert(photos.csv, second)
    table = photos.csv.read_text().splitlines()
    few = photos.csv.with_name("few.csv")
    few.write_text("\n".join(line.rpartition(",")[0] for line in table[:5]).replace("label0", "other"))
    run_insert(few, lite)
    summary = copy_collection(collection_of(lite), collection_of(second))
    assert (summary.rows, summary.copied, summary.added, summary.rows_before) == (4, 4, 0, 12)
    assert (summary.sampled, summary.verified) == (12, True)
    rows = all_rows(second)
    assert len(rows) == 12
    assert [rows[number]["year"] for number in range(12)] == list(range(2010, 2022))
    assert [rows[number]["label"] for number in range(5)] == ["other", "label1", "label2", "other", "label1"]
    assert [len(split_sources(str(rows[number]["_source"]))) for number in (0, 3, 4)] == [2, 2, 1]
    assert copy_collection(collection_of(lite), collection_of(second)).copied == 0


@pytest.mark.long
@pytest.mark.parametrize("damage", ["cell", "row"])
def test_a_copy_that_harms_what_the_target_held_is_not_verified(
    damage: str, lite: Settings, second: Settings, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_insert(photos.csv, second)
    few = photos.csv.with_name("few.csv")
    few.write_text("\n".join(line.rpartition(",")[0] for line in photos.csv.read_text().splitlines()[:5]))
    run_insert(few, lite)
    original = Collection.upsert

    def harming(self: Collection, rows: object) -> int:
        if damage == "row":
            self.delete([11])
        changed = [{**row, "year": None} if damage == "cell" else row for row in rows]  # type: ignore[attr-defined]
        return original(self, changed)

    monkeypatch.setattr(Collection, "upsert", harming)
    summary = copy_collection(collection_of(lite), collection_of(second))
    assert summary.different == {"cell": 4, "row": 1}[damage]
    assert not summary.verified


@pytest.mark.long
def test_a_copy_that_cannot_be_right_is_refused(
    lite: Settings, second: Settings, photos: Photos, tmp_path: Path
) -> None:
    with pytest.raises(CollectionNotFound):
        copy_collection(collection_of(lite), collection_of(second))
    run_insert(photos.csv, lite)
    with pytest.raises(InputError, match="the same collection"):
        copy_collection(collection_of(lite), Collection(f"{tmp_path}/./search.db", lite.collection))
    many_rows(collection_of(second), 5)
    with pytest.raises(ModelMismatch, match="was made by m@1"):
        copy_collection(collection_of(lite), collection_of(second))
    foreign = Collection(second.uri, "foreign")
    foreign.client.create_collection("foreign", dimension=256)
    with pytest.raises(StoreError, match="was not made by this program"):
        copy_collection(collection_of(lite), foreign)


@pytest.mark.long
def test_a_copy_keeps_the_model_id_of_its_target(lite: Settings, second: Settings) -> None:
    """The model's folder was moved: the weights decide which model it is, and all rows keep one model id."""
    source, target = collection_of(lite), collection_of(second)
    many_rows(source, 20, "/models/now@1")
    many_rows(target, 10, "/models/before@1")
    summary = copy_collection(source, target)
    assert (summary.copied, summary.unchanged, summary.different, summary.verified) == (10, 10, 0, True)
    assert {row["_model"] for row in all_rows(second).values()} == {"/models/before@1"}
    assert {row["_model"] for row in all_rows(lite).values()} == {"/models/now@1"}
    other = Collection(second.uri, "other")
    many_rows(other, 1, "/models/before@2")
    with pytest.raises(ModelMismatch, match="was made by /models/before@2"):
        copy_collection(source, other)


def test_the_command_prints_counts_and_its_status_is_the_verification(
    quick_command: Callable[..., CommandResult], photos: Photos, tmp_path: Path
) -> None:
    here, there = tmp_path / "here.db", tmp_path / "there.db"
    quick_command("insert", photos.csv, "--uri", here, "--model", "builtin")
    done = quick_command("copy", "--from", here, "--to", there, "--to-collection", "mine")
    assert (done.status, done.err) == (0, "")
    assert "12 rows: 12 copied, 0 there already" in done.out
    assert "verified: 12 rows in the source, 12 in the target; 12 rows compared value by value, all equal" in done.out
    again = json.loads(quick_command("copy", "--from", here, "--to", there, "--to-collection", "mine", "--json").out)
    assert (again["copied"], again["unchanged"], again["verified"]) == (0, 12, True)
    nowhere = quick_command("copy", "--from", here, "--to", "http://127.0.0.1:9")
    assert (nowhere.status, nowhere.err.count("\n")) == (3, 1)
