"""Vectors as files: exported, imported, embedded without Milvus, read from clip-retrieval, and loaded in bulk."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines import Settings, Summary, run_insert
from pipelines.errors import InputError, ModelMismatch, StoreError
from pipelines.indexing.bulk import BulkLoad
from pipelines.milvus import vector_folder
from pipelines.milvus.clip_retrieval import ClipRetrievalFolder
from pipelines.milvus.collection import Collection
from pipelines.milvus.copy import CopySummary, copy_collection
from pipelines.milvus.vector_folder import VectorFolder
from pipelines.sources.source import Shard, path_id
from tests.support.insert import all_rows, collection_of, did
from tests.support.photos import Photos, draw_images, write_csv
from tests.support.program import CommandResult


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """List twelve images with a column of each type, most with gaps, and names that Milvus does not accept."""
    paths = draw_images(tmp_path / "photos", 12)
    header = ["id", "path", "label", "year", "taken", "Größe", "good", "embedding"]
    rows = [
        [f"key {at}", path, "" if at == 1 else f"label{at % 3}", "" if at == 2 else at, "" if at == 3 else "2020-05-01",
         "" if at == 4 else at / 3, "" if at == 5 else str(at % 2 == 0), "a column"]
        for at, path in enumerate(paths)
    ]  # fmt: skip
    return write_csv(tmp_path / "table.csv", header, rows)


def elsewhere(settings: Settings) -> Settings:
    return Settings(uri=settings.uri, collection=f"c_{uuid.uuid4().hex[:12]}", model="builtin")


def equal(one: dict[int, dict[str, object]], other: dict[int, dict[str, object]]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(np.asarray(row.pop("embedding")), np.asarray(other[key].pop("embedding"))) and row == other[key]
        for key, row in one.items()
    )


@pytest.mark.long
def test_a_collection_returns_from_files_as_it_was(settings: Settings, table: Path, tmp_path: Path) -> None:
    """On Milvus Lite and on a server, rows, columns, empty cells and vectors come back; nothing is written twice."""
    run_insert(table, settings)
    exported = copy_collection(collection_of(settings), VectorFolder(tmp_path / "vectors"))
    assert (exported.copied, exported.verified) == (12, True)
    again = copy_collection(collection_of(settings), VectorFolder(tmp_path / "vectors"))
    assert (again.copied, again.unchanged, again.verified) == (0, 12, True)
    back = elsewhere(settings)
    imported = copy_collection(VectorFolder(tmp_path / "vectors"), collection_of(back))
    assert (imported.copied, imported.sampled, imported.verified) == (12, 12, True)
    assert collection_of(back).fields() == collection_of(settings).fields()
    assert equal(all_rows(settings), all_rows(back))
    assert did(run_insert(table, back)) == {"unchanged": 12}


def test_other_programs_can_read_the_files(lite: Settings, table: Path, tmp_path: Path) -> None:
    import pandas as pd

    run_insert(table, lite)
    copy_collection(collection_of(lite), VectorFolder(tmp_path / "vectors"))
    frame = pd.read_parquet(tmp_path / "vectors")
    assert {"id", "path", "label", "year", "taken", "Größe", "good", "embedding", "_model"} <= set(frame.columns)
    assert str(frame["taken"].max()) == "2020-05-01 00:00:00"
    assert frame["year"].isna().sum() == 1
    assert frame["_model"].str.startswith("builtin@").all()
    assert np.allclose(np.linalg.norm(np.stack(frame["embedding"]), axis=1), 1, atol=1e-5)


@pytest.mark.long
def test_half_of_the_size_keeps_the_direction(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    run_insert(photos.csv, lite)
    summary = copy_collection(collection_of(lite), VectorFolder(tmp_path / "half", half=True))
    assert (summary.sampled, summary.different, summary.verified) == (12, 0, True)
    back = elsewhere(lite)
    assert copy_collection(VectorFolder(tmp_path / "half"), collection_of(back)).verified
    assert copy_collection(collection_of(back), VectorFolder(tmp_path / "half")).copied == 0
    for key, row in all_rows(back).items():
        vector, exact = (np.asarray(one["embedding"], np.float32) for one in (row, all_rows(lite)[key]))
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
        assert not np.array_equal(vector, exact)
        assert vector @ exact > 0.99999


@pytest.mark.long
def test_an_interrupted_export_and_import_continue(
    lite: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_folder, "PART_ROWS", 1000)
    source = many_rows(collection_of(lite), 2500)

    def stop(done: CopySummary) -> None:
        if done.rows == 1000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_collection(source, VectorFolder(tmp_path / "vectors"), stop)
    assert len([*(tmp_path / "vectors").glob("part-*.parquet")]) == 1
    exported = copy_collection(source, VectorFolder(tmp_path / "vectors"))
    assert (exported.copied, exported.unchanged, exported.verified) == (1500, 1000, True)
    target = collection_of(elsewhere(lite))
    with pytest.raises(KeyboardInterrupt):
        copy_collection(VectorFolder(tmp_path / "vectors"), target, stop)
    imported = copy_collection(VectorFolder(tmp_path / "vectors"), target)
    assert (imported.copied, imported.unchanged, imported.verified) == (1500, 1000, True)


def many_rows(collection: Collection, count: int, model_id: str = "m@1") -> Collection:
    collection.create(8, ())
    vectors = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
    own = {"_mtime_ns": 0, "_size": 0, "_model": model_id, "_source": ""}
    collection.upsert(
        {"id": number, "path": f"{number}.jpg", "_hash": f"{number:032x}", "embedding": vectors[number], **own}
        for number in range(count)
    )
    collection.flush()
    return collection


def test_the_last_row_of_an_id_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows in files and rows that are not written yet are looked up, counted, replaced and deleted alike."""
    monkeypatch.setattr(vector_folder, "PART_ROWS", 4)
    folder = VectorFolder(tmp_path / "vectors")
    many_rows(folder, 10)
    (row,) = folder.get([3], ["path", "_hash", "_mtime_ns", "_size", "_model", "_source", "embedding"]).values()
    folder.upsert([{**row, "path": "new.jpg"}, {**row, "id": 11, "path": "new.jpg"}])
    for is_written in (False, True):
        each = VectorFolder(tmp_path / "vectors") if is_written else folder
        assert each.count() == 11
        assert {key: one["path"] for key, one in each.get([3, 4, 11, 99], ["path"]).items()} == {
            3: "new.jpg", 4: "4.jpg", 11: "new.jpg",
        }  # fmt: skip
        assert sorted(one["id"] for one in each.query('path in ["new.jpg", "4.jpg", "3.jpg"]', ["id"])) == [3, 4, 11]
        assert each.count('_source != "x"') == 11
        assert len({one["id"] for rows in each.scan("", ["embedding"]) for one in rows}) == 11
        folder.flush()
    folder.delete([0, 3])
    assert VectorFolder(tmp_path / "vectors").count() == folder.count() == 9


@pytest.mark.parametrize(("damage", "message"), [
    ("truncated", "cannot be read"), ("changed", "cannot be read"), ("missing", "is missing: restore it"),
    ("shard", "part-002-of-002-000001.parquet is missing"),
    ("model", "was made by m@1, the parts before it by m@2"), ("columns", "other columns"),
])  # fmt: skip
def test_files_that_cannot_be_right_are_refused(
    damage: str, message: str, lite: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_folder, "PART_ROWS", 10)
    folder = tmp_path / "vectors"
    many_rows(VectorFolder(folder), 30)
    first = folder / "part-001-of-001-000001.parquet"
    content = bytearray(first.read_bytes())
    if damage == "truncated":
        first.write_bytes(content[:-200])
    elif damage == "changed":
        content[content.index(np.float32(0.12573022).tobytes())] ^= 1  # in the first embedding
        first.write_bytes(content)
    elif damage == "missing":
        first.unlink()
    elif damage == "shard":
        many_rows(VectorFolder(folder, Shard(1, 2)), 1)
    else:
        other = VectorFolder(tmp_path / "other", Shard(1, 1))
        many_rows(other, 1, "m@2" if damage == "model" else "m@1")
        if damage == "columns":
            many_rows(VectorFolder(tmp_path / "half", half=True), 1)
        (tmp_path / ("half" if damage == "columns" else "other") / first.name).rename(folder / first.name)
    with pytest.raises(InputError, match=message):
        copy_collection(VectorFolder(folder), collection_of(lite))


@pytest.mark.long
def test_shards_embed_without_milvus_and_are_imported(lite: Settings, photos: Photos, tmp_path: Path) -> None:
    """Later runs embed only what is new or changed, and the import equals a plain run."""
    run_insert(photos.csv, lite)
    folder, nowhere = str(tmp_path / "vectors"), Settings(uri="http://127.0.0.1:9", model="builtin")
    rejects = str(tmp_path / "rejected.csv")

    def run_shards() -> list[Summary]:
        return [run_insert(photos.csv, nowhere, shard=f"{part}/2", to=folder, rejects=rejects) for part in (1, 2)]

    assert sum(summary.inserted for summary in run_shards()) == 12
    assert sum(summary.unchanged for summary in run_shards()) == 12
    back = elsewhere(lite)
    assert copy_collection(VectorFolder(folder), collection_of(back)).verified
    assert equal(all_rows(lite), all_rows(back))
    with pytest.raises(InputError, match="leave them out with --to"):
        run_insert(photos.csv, nowhere, to=folder, reembed=True)
    photos.paths[0].write_bytes(photos.paths[1].read_bytes())
    photos.paths[2].write_bytes(b"no image")
    changed = run_shards()
    assert sum(summary.broken for summary in changed) == 1
    assert sum(summary.deduplicated + summary.updated for summary in changed) == 1
    assert VectorFolder(folder).count() == 11


def clip_retrieval_output(folder: Path, paths: list[Path], dim: int = 256) -> np.ndarray:
    """Write what `clip-retrieval inference` writes for a folder of images, in two partitions; return the embeddings."""
    import pandas as pd

    vectors = np.random.default_rng(0).normal(size=(len(paths), dim)).astype(np.float16)
    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    for number, part in enumerate((slice(0, 5), slice(5, None))):
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", vectors[part])
        frame = pd.DataFrame({"image_path": [str(path) for path in paths[part]]})
        frame["caption"] = [f"caption {at}" for at in range(len(frame))]
        frame["width"] = [640] * len(frame) if number else [640, None, 640, 640, 640]
        frame.to_parquet(folder / "metadata" / f"metadata_{number}.parquet")
    return vectors


def test_what_clip_retrieval_wrote_is_imported(
    lite: Settings, photos: Photos, tmp_path: Path, quick_command: Callable[..., CommandResult]
) -> None:
    vectors = clip_retrieval_output(tmp_path / "output", photos.paths)
    unnamed = quick_command("import", tmp_path / "output", "--uri", lite.uri)
    assert (unnamed.status, "name it by --model" in unnamed.err) == (2, True)
    done = quick_command("import", tmp_path / "output", "--uri", lite.uri, "--model", "builtin", "--json")
    assert (json.loads(done.out)["copied"], json.loads(done.out)["verified"]) == (12, True), done.err
    rows = all_rows(lite)
    assert [*rows] == sorted(path_id(str(path)) for path in photos.paths)
    row = rows[path_id(str(photos.paths[1]))]
    assert (row["caption"], row["width"], rows[path_id(str(photos.paths[6]))]["width"]) == ("caption 1", None, 640.0)
    exact = vectors[1].astype(np.float32)
    assert np.allclose(np.asarray(row["embedding"]), exact / np.linalg.norm(exact), atol=1e-6)


def test_wrong_output_of_clip_retrieval_is_refused(photos: Photos, tmp_path: Path) -> None:
    clip_retrieval_output(tmp_path / "output", photos.paths)
    with pytest.raises(InputError, match="no column 'url': name one of image_path, caption, width by --path-column"):
        ClipRetrievalFolder(tmp_path / "output", "m@1", 256, "url")
    with pytest.raises(ModelMismatch, match="has 256 dimensions, and m@1 has 512"):
        ClipRetrievalFolder(tmp_path / "output", "m@1", 512, "image_path")
    (tmp_path / "output" / "img_emb" / "img_emb_0.npy").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read"):
        ClipRetrievalFolder(tmp_path / "output", "m@1", 256, "image_path")


def test_the_commands(quick_command: Callable[..., CommandResult], photos: Photos, tmp_path: Path) -> None:
    folder = tmp_path / "my vectors"
    done = quick_command("insert", photos.csv, "--to", folder, "--model", "builtin")
    assert (done.status, done.err) == (0, "")
    assert f"files in {folder}" in done.out
    assert f"next:  image-search import '{folder}'" in done.out
    assert "verified: 12 rows" in quick_command("import", folder, "--uri", tmp_path / "a.db").out
    done = quick_command("export", tmp_path / "again", "--uri", tmp_path / "a.db", "--float16", "--json")
    assert (done.status, json.loads(done.out)["copied"]) == (0, 12)
    empty = quick_command("import", tmp_path / "nothing", "--uri", tmp_path / "a.db")
    assert (empty.status, empty.err.count("\n")) == (3, 1)
    refused = quick_command("import", folder, "--uri", tmp_path / "a.db", "--bulk", tmp_path)
    assert refused.err == "error: Milvus Lite has no bulk load: leave out --bulk\n"


@pytest.fixture
def store(milvus_server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that the server may read."""
    if "MILVUS_URI" in os.environ:
        pytest.skip("the store of a server that the tests did not start is not known")
    return tmp_path_factory.mktemp("store")


@pytest.mark.slow
def test_a_bulk_load_merges_and_takes_the_name(
    milvus_server: str, store: Path, lite: Settings, table: Path, tmp_path: Path
) -> None:
    """A load into no collection, then into one with other rows, equals an import by upsert, with empty cells, too."""
    run_insert(table, lite)
    copy_collection(collection_of(lite), VectorFolder(tmp_path / "vectors"))
    there, plain = elsewhere(Settings(uri=milvus_server)), elsewhere(Settings(uri=milvus_server))
    few = write_csv(tmp_path / "few.csv", ["path", "label"], [[draw_images(tmp_path / "more", 1)[0], "new"]])
    for at in (1, 2):
        if at == 2:
            for one in (there, plain):
                collection_of(one).delete([*all_rows(one)][:3])
                run_insert(few, one)
        bulk = copy_collection(VectorFolder(tmp_path / "vectors"), BulkLoad(collection_of(there), str(store)))
        assert copy_collection(VectorFolder(tmp_path / "vectors"), collection_of(plain)).verified
        assert (bulk.verified, bulk.rows_in_target, [*store.iterdir()]) == (True, 11 + at, [])
        assert equal(all_rows(there), all_rows(plain))
    assert {name for name in collection_of(there).client.list_collections() if there.collection in name} == {
        there.collection
    }
    collection_of(there).drop()


@pytest.mark.slow
def test_a_bulk_load_that_fails_changes_nothing(
    milvus_server: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = many_rows(Collection(milvus_server, f"c_{uuid.uuid4().hex[:12]}"), 20)
    many_rows(VectorFolder(tmp_path / "vectors"), 30)
    bulk = BulkLoad(target, str(store))
    write = bulk._write

    def damage() -> None:
        write()
        for path in store.iterdir():
            path.write_bytes(b"PAR1")

    monkeypatch.setattr(bulk, "_write", damage)
    with pytest.raises(StoreError, match="could not import a file"):
        copy_collection(VectorFolder(tmp_path / "vectors"), bulk)
    assert target.count() == 20
    assert copy_collection(VectorFolder(tmp_path / "vectors"), BulkLoad(target, str(store))).verified
    target.drop()
