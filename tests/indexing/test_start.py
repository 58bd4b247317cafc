"""How soon a run has something to embed: what it loads and reads before its first image."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipelines import Settings, run_insert
from pipelines.indexing import plan
from pipelines.milvus.collection import Collection
from pipelines.milvus.connection import close
from pipelines.models.clip import ClipModel
from pipelines.operators.embedding import ClipEmbedding
from pipelines.operators.image_decode import ImageDecode
from tests.support.insert import did, distinct_copies
from tests.support.photos import Photos, write_csv
from tests.support.program import run_code


def test_the_model_loads_while_a_new_collection_is_made(
    lite: Settings, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = threading.Event()
    embed, create = ClipModel.embed_images, Collection.create

    def embedding(self: ClipModel, images: np.ndarray) -> np.ndarray:
        found = embed(self, images)
        loaded.set()
        return found

    def creating(self: Collection, *arguments: object) -> None:
        assert loaded.wait(60)
        create(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ClipModel, "embed_images", embedding)
    monkeypatch.setattr(Collection, "create", creating)
    assert run_insert(photos.csv, lite).inserted


def test_towhee_is_imported_before_pytorch_beside_it(lite: Settings, photos: Photos) -> None:
    """PyTorch's import restores the warning filters that it found, so Towhee's import beside it would print some."""
    code = (
        "import sys; from pipelines import Settings; from pipelines.indexing import run, target\n"
        "decode = target.decode\n"
        "def late(*image): print('towhee.runtime.operator_manager.operator_loader' in sys.modules); decode(*image)\n"
        "target.decode = late\n"
        "run.run_insert(sys.argv[1], Settings(uri=sys.argv[2], model='builtin'))"
    )
    done = run_code(code, photos.csv, lite.uri)
    assert (done.out, done.err) == ("True\n", "")


def test_a_run_with_nothing_new_loads_neither_opencv_nor_pytorch(lite: Settings, photos: Photos) -> None:
    before = run_insert(photos.csv, lite)
    close(lite.uri)
    code = (
        "import sys; from pipelines import Settings, run_insert; "
        "summary = run_insert(sys.argv[1], Settings(uri=sys.argv[2])); "
        "print(summary.unchanged, [name for name in ('torch', 'cv2') if name in sys.modules])"
    )
    done = run_code(code, photos.csv, lite.uri)
    assert done.out == f"{before.inserted} []\n", done.err


@pytest.mark.long
def test_the_first_images_are_embedded_before_the_other_files_are_read(
    lite: Settings, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = distinct_copies(photos.paths[0], tmp_path / "many", 300)
    source = write_csv(tmp_path / "many.csv", ["id", "path"], list(enumerate(paths)))
    embedded = threading.Event()
    read: list[int] = []
    embed, hash_files = ClipEmbedding.__call__, plan.hash_files

    def embedding(self: ClipEmbedding, items: object) -> np.ndarray:
        found = embed(self, items)
        embedded.set()
        return found

    def hashing(names: Sequence[str], threads: int = 0) -> list[str]:
        assert not read or embedded.wait(60)
        read.append(len(names))
        return hash_files(names, threads)

    monkeypatch.setattr(ClipEmbedding, "__call__", embedding)
    monkeypatch.setattr(plan, "hash_files", hashing)
    summary = run_insert(source, Settings(uri=lite.uri, model="builtin", batch_size=16))
    assert did(summary)["inserted"] == 300
    assert read == [48, 252]  # three batches, then the rest


def test_of_two_lists_at_once_one_is_decoded_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """If they took turns, both would be ready late, and the model would wait for the first."""
    order: list[int] = []
    decode = ImageDecode(workers=1)

    def one(source: str) -> tuple[str, str, dict[str, str]]:
        order.append(int(source))
        return "", "", {}

    monkeypatch.setattr(decode, "_decode", one)
    together = threading.Barrier(2)

    def decoding(name: str) -> None:
        together.wait()
        decode([name] * 2000)

    threads = [threading.Thread(target=decoding, args=(name,)) for name in "12"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(order) == 4000
    assert len(list(itertools.groupby(order))) == 2
