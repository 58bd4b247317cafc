"""A second run touches only what changed, and embeds nothing that has an embedding, on Milvus Lite and on a server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines import Settings, run_insert
from pipelines.errors import InputError, ModelMismatch
from pipelines.milvus.collection import Collection
from pipelines.operators.embedding import ClipEmbedding
from tests.support.insert import all_rows, collection_of, did, vectors
from tests.support.photos import Photos, write_csv
from tests.support.program import CommandResult


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list of the number of images in each model call."""
    sizes: list[int] = []
    original = ClipEmbedding.__call__

    def counted(self: ClipEmbedding, items: list[np.ndarray]) -> np.ndarray:
        sizes.append(len(items))
        return original(self, items)

    monkeypatch.setattr(ClipEmbedding, "__call__", counted)
    return sizes


def test_new_columns_and_touched_files_are_not_embedded_again(
    settings: Settings, photos: Photos, embedded: list[int]
) -> None:
    run_insert(photos.csv, settings)
    before = vectors(settings)
    embedded.clear()
    photos.csv.write_text(photos.csv.read_text().replace("label2,2012", "other,2013"))
    os.utime(photos.paths[4], ns=(5, 5))
    assert did(run_insert(photos.csv, settings)) == {"metadata_updated": 2, "unchanged": 10}
    rows = all_rows(settings)
    assert (rows[2]["label"], rows[2]["year"], rows[4]["_mtime_ns"]) == ("other", 2013, 5)
    assert embedded == []
    assert all(np.array_equal(before[key], after) for key, after in vectors(settings).items())
    assert did(run_insert(photos.csv, settings)) == {"unchanged": 12}


def test_renamed_and_copied_files_take_the_embedding_that_is_there(
    settings: Settings, photos: Photos, embedded: list[int]
) -> None:
    run_insert(photos.folder, settings)
    before = vectors(settings)
    embedded.clear()
    photos.paths[0].rename(photos.folder / "renamed.jpg")
    shutil.copyfile(photos.paths[1], photos.folder / "copy.jpg")
    assert did(run_insert(photos.folder, settings)) == {"deduplicated": 1, "moved": 1, "unchanged": 11}
    assert embedded == []
    by_path = {Path(str(row["path"])).name: key for key, row in all_rows(settings).items()}
    after = vectors(settings)
    assert np.array_equal(after[by_path["renamed.jpg"]], before[by_path["renamed.jpg"]])
    assert np.array_equal(after[by_path["copy.jpg"]], before[by_path["00001.jpg"]])


@pytest.mark.long
def test_equal_files_of_one_run_are_embedded_once(settings: Settings, photos: Photos, embedded: list[int]) -> None:
    """Even if the first of them is not stored yet, or cannot be used."""
    photos.paths[3].write_bytes(b"no image")
    rows = [[number, photos.paths[number % 12]] for number in range(2500)]
    summary = run_insert(write_csv(photos.folder / "twins.csv", ["id", "path"], rows), settings)
    bad = sum(1 for number in range(2500) if number % 12 == 3)
    assert did(summary) == {"inserted": 11, "deduplicated": 2500 - 11 - bad, "rejected": bad}
    assert sum(embedded) - bad == 11
    after = vectors(settings)
    assert len(after) == 2500 - bad
    assert all(np.array_equal(after[key], after[key % 12]) for key in after)


def test_a_new_image_is_embedded_and_swapped_ones_are_not(
    settings: Settings, photos: Photos, embedded: list[int]
) -> None:
    run_insert(photos.csv, settings)
    before = vectors(settings)
    embedded.clear()
    first, second = photos.paths[5].read_bytes(), photos.paths[6].read_bytes()
    photos.paths[5].write_bytes(second)
    photos.paths[6].write_bytes(first)
    photos.paths[7].write_bytes(first + b"another content, the same image")
    for number in (5, 6, 7):
        os.utime(photos.paths[number], ns=(9, 9))
    assert did(run_insert(photos.csv, settings)) == {"deduplicated": 2, "updated": 1, "unchanged": 9}
    assert embedded == [1]
    after = vectors(settings)
    assert np.array_equal(after[5], before[6])
    assert np.array_equal(after[6], before[5])
    assert np.allclose(after[7], before[5], atol=1e-3)


def test_checksum_sees_what_time_and_size_hide(lite: Settings, photos: Photos) -> None:
    run_insert(photos.csv, lite)
    status = photos.paths[2].stat()
    data = bytearray(photos.paths[2].read_bytes())
    data[-40] ^= 1  # inside the compressed data
    photos.paths[2].write_bytes(data)
    os.utime(photos.paths[2], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert did(run_insert(photos.csv, lite)) == {"unchanged": 12}
    assert did(run_insert(photos.csv, lite, checksum=True)) == {"updated": 1, "unchanged": 11}
    os.utime(photos.paths[2], ns=(5, 5))
    assert did(run_insert(photos.csv, lite, checksum=True)) == {"metadata_updated": 1, "unchanged": 11}


def test_a_moved_tree_with_ids_of_its_own_is_moved(lite: Settings, photos: Photos, embedded: list[int]) -> None:
    run_insert(photos.csv, lite)
    embedded.clear()
    moved = photos.csv.parent.parent / (photos.csv.parent.name + "_moved")
    moved.mkdir()
    try:
        shutil.move(photos.folder, moved)
        shutil.move(photos.csv, moved)
        assert did(run_insert(moved / photos.csv.name, lite)) == {"moved": 12}
        assert embedded == []
        assert str(all_rows(lite)[0]["path"]).startswith(str(moved))
    finally:
        shutil.rmtree(moved)


def of_another_model(settings: Settings, dim: int) -> dict[int, dict[str, object]]:
    """Replace the collection by one whose rows another model made, with `dim` dimensions; return its rows."""
    rows = all_rows(settings)
    collection = collection_of(settings)
    fields = collection.fields()
    collection.drop()
    Collection(settings.uri, settings.collection).create(dim, fields)
    random = np.random.default_rng(0)
    fakes = {
        key: {**row, "_model": "other@123", "embedding": random.normal(size=dim).astype(np.float32)}
        for key, row in rows.items()
    }
    collection_of(settings).upsert(fakes.values())
    return fakes


@pytest.mark.long
@pytest.mark.parametrize(("uri", "dim"), [("lite", 256), ("lite", 64), ("server", 64)], indirect=["uri"])
def test_another_models_rows_are_refused_or_replaced(settings: Settings, photos: Photos, dim: int) -> None:
    """The whole collection is replaced, with rows of other sources; the old rows stay until the end."""
    extra = photos.folder / "extra"
    extra.mkdir()
    shutil.copyfile(photos.paths[2], extra / "one.jpg")
    run_insert(photos.csv, settings)
    more = write_csv(photos.folder / "more.csv", ["id", "path", "label", "year"], [[70, extra / "one.jpg", "x", 1]])
    run_insert(more, settings)
    expected = all_rows(settings)
    of_another_model(settings, dim)
    with pytest.raises(ModelMismatch, match=r"was made by other@123, this is builtin@.*--reembed"):
        run_insert(photos.csv, settings)
    summary = run_insert(photos.csv, settings, reembed=True)
    assert did(summary) == {"inserted": 12, "deduplicated": 1}
    assert summary.collection == settings.collection
    after = all_rows(settings)
    assert after.keys() == expected.keys()
    for key, row in expected.items():
        vector, wanted = after[key].pop("embedding"), row.pop("embedding")
        assert after[key] == row
        assert np.dot(np.asarray(vector), np.asarray(wanted)) > 0.999
    assert not Collection(settings.uri, settings.collection + "__reembed").exists()
    assert not Collection(settings.uri, settings.collection + "__replaced").exists()
    assert did(run_insert(photos.csv, settings, reembed=True)) == {"unchanged": 12}


@pytest.mark.long
def test_a_killed_change_of_model_goes_on(lite: Settings, photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the exchange is stopped at any step, the next run ends with the new collection, and nothing is lost."""
    run_insert(photos.csv, lite)
    wanted = vectors(lite)
    for step in (1, 2, 3):
        of_another_model(lite, 64)
        calls = 0

        def stop(original: Callable[..., None], at: int = step) -> Callable[..., None]:
            def counted(*arguments: object) -> None:
                nonlocal calls
                calls += 1
                if calls == at:
                    raise RuntimeError("killed")
                original(*arguments)

            return counted

        with monkeypatch.context() as patch:
            patch.setattr(Collection, "rename", stop(Collection.rename))
            patch.setattr(Collection, "drop", stop(Collection.drop))
            with pytest.raises(RuntimeError, match="killed"):
                run_insert(photos.csv, lite, reembed=True)
        assert did(run_insert(photos.csv, lite, reembed=True)) == {"unchanged": 12}
        assert vectors(lite).keys() == wanted.keys()
        assert collection_of(lite).model().startswith("builtin@")
        names = collection_of(lite).client.list_collections()
        assert names == [lite.collection]


def test_options_that_need_the_whole_source_refuse_a_limit(lite: Settings, photos: Photos) -> None:
    with pytest.raises(InputError, match="--limit"):
        run_insert(photos.csv, lite, limit=3, reembed=True)
    with pytest.raises(InputError, match="--limit"):
        run_insert(photos.csv, lite, limit=3, prune=lambda gone, total: True)


def test_the_command_says_what_it_reused(
    quick_command: Callable[..., CommandResult], photos: Photos, tmp_path: Path
) -> None:
    arguments = (photos.folder, "--uri", tmp_path / "s.db", "--model", "builtin")
    quick_command("insert", *arguments)
    shutil.copyfile(photos.paths[1], photos.folder / "copy.jpg")
    os.utime(photos.paths[2], ns=(5, 5))
    out = quick_command("insert", *arguments).out
    assert "13 rows: 0 inserted, 0 updated, 1 deduplicated, 1 metadata_updated, 11 unchanged, 0 rejected" in out
