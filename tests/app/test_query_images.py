"""Uploaded query images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.query_images import QueryImages
from pipelines.fetch.read import read_file
from pipelines.images.decode import decode
from tests.support.photos import draw_images


def test_a_kept_image_is_what_the_model_saw(tmp_path: Path) -> None:
    (path,) = draw_images(tmp_path, 1, (300, 200))
    images = QueryImages(tmp_path / "kept")
    key = images.keep(str(path), 64)
    kept = images.get(key)
    assert kept is not None
    assert np.array_equal(decode(kept, size=64), decode(read_file(path), size=64))
    assert images.keep(str(path), 64) == key
    assert images.data_url(key).startswith("data:image/webp;base64,")
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0
    assert not list((tmp_path / "kept").glob("*.part"))


def test_the_oldest_kept_images_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.query_images.MOST_KEPT", 2)
    images = QueryImages(tmp_path / "kept")
    keys = [images.keep(str(path), 32) for path in draw_images(tmp_path, 3)]
    assert [images.get(key) is None for key in keys] == [True, False, False]
    assert images.data_url(keys[0]) == ""
