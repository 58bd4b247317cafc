"""The operator `image_decode.cv2` decodes lists in order, and a bad image costs only itself."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from PIL import Image

from pipelines.operators.image_decode import ImageDecode
from tests.support.images import UPRIGHT, colours_at_corners, encode, quadrants
from tests.support.photos import Photos


def test_a_list_keeps_its_order_and_a_bad_image_costs_only_itself() -> None:
    greys = list(range(0, 250, 10))
    sources = [encode(Image.new("RGB", (30 + 20 * (grey % 7), 40), (grey,) * 3), "PNG") for grey in greys]
    sources[5], sources[11] = b"", b"<html>"
    images, reasons = ImageDecode(size=32, reasons=True, workers=4)(sources)
    assert [bool(reason) for reason in reasons] == [index in (5, 11) for index in range(len(greys))]
    assert [reason for index, reason in enumerate(reasons) if index not in (5, 11)] == [""] * (len(greys) - 2)
    assert [image.shape for image in (images[5], images[11])] == [(0, 0, 3)] * 2
    assert [int(p.mean()) for i, p in enumerate(images) if i not in (5, 11)] == greys[:5] + greys[6:11] + greys[12:]


def test_without_reasons_a_bad_image_is_logged_and_has_no_pixels(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        image = ImageDecode()("/nowhere/cat.jpg")
    assert image.shape == (0, 0, 3)
    assert "/nowhere/cat.jpg: no such file" in caplog.text


def test_the_order_of_the_channels_is_the_requested_one() -> None:
    data = encode(Image.new("RGB", (9, 9), (200, 100, 50)), "PNG")
    assert tuple(ImageDecode("rgb")(data)[4, 4]) == (200, 100, 50)
    assert tuple(ImageDecode("bgr")(data)[4, 4]) == (50, 100, 200)
    with pytest.raises(ValueError, match="'rgb' or 'bgr'"):
        ImageDecode("grey")


@pytest.mark.parametrize(("form", "name"), [("PNG", "a.jpg"), ("JPEG", "b.png"), ("WEBP", "no extension")])
def test_the_content_of_a_file_decides_and_not_its_name(form: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(encode(quadrants(), form))
    assert colours_at_corners(ImageDecode()(tmp_path / name)) == UPRIGHT


def test_path_objects_are_decoded(photos: Photos) -> None:
    assert ImageDecode("bgr")(Path(photos.paths[0])).shape == (72, 96, 3)
