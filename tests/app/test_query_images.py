"""Uploaded query images."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.media import Thumbnails, convert_sent, convert_stored, full_image
from app.query_images import QueryImages
from pipelines.errors import UnreadableImage
from pipelines.fetch.read import read_file
from pipelines.images.decode import decode
from pipelines.images.fit import Fit
from tests.support.photos import draw_images


@pytest.mark.long
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


def test_an_image_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit holds wherever the page decodes images, those of strangers and those of a collection."""
    for converter in (convert_sent, convert_stored):
        monkeypatch.setattr(converter, "_seconds", 0.0)
    (path,) = map(str, draw_images(tmp_path, 1))
    with pytest.raises(UnreadableImage, match="more than 0 s"):
        QueryImages(tmp_path / "kept").keep(path, 64)
    with pytest.raises(UnreadableImage, match="more than 0 s"):
        Thumbnails(tmp_path).get(path, "key")
    turned = tmp_path / "a.bmp"
    Image.open(path).save(turned)
    with pytest.raises(UnreadableImage, match="more than 0 s"):
        full_image(str(turned))


def test_no_decoder_with_a_known_hole_sees_a_query_image(tmp_path: Path) -> None:
    (path,) = draw_images(tmp_path, 1)
    Image.open(path).save(tmp_path / "a.jp2")
    with pytest.raises(UnreadableImage, match="not searched for"):
        QueryImages(tmp_path / "kept").keep(str(tmp_path / "a.jp2"), 64)


def test_many_images_at_once_are_refused(tmp_path: Path) -> None:
    """Otherwise images could take all of the page's eight concurrent requests, and leave none for words."""
    images = QueryImages(tmp_path)

    def is_refused(client: str) -> bool:
        with pytest.raises(UnreadableImage) as refusal:
            images.keep(str(tmp_path / "missing"), Fit(64), client=client)
        return "try again" in str(refusal.value)

    with contextlib.ExitStack() as places:
        for client in ("a", "a", "b"):
            places.enter_context(images._place(client))
        assert [is_refused(client) for client in ("a", "b", "c")] == [True, False, False]
        places.enter_context(images._place("b"))
        assert is_refused("c")
    assert not is_refused("a")
