"""Images as Python programs hold them become the pixels that their files have."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.errors import UnreadableImage
from pipelines.images.pixels import read_object
from pipelines.operators.image_decode import ImageDecode
from tests.support.images import UPRIGHT, colours_at_corners, encode, quadrants

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
GREY = RGB[..., 0]


CHANNELS_FIRST = RGB.transpose(2, 0, 1)
FORMS: dict[str, Any] = {
    "uint8": RGB,
    "int64": RGB.astype(np.int64),
    "float levels": RGB.astype(np.float32),
    "float shares": RGB / 255,
    "16 bits": RGB.astype(np.uint16) << 8,
    "a batch of one": RGB[None],
    "channels first": CHANNELS_FIRST,
    "opaque": np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)]),
    "Pillow": Image.fromarray(RGB),
    "tensor": torch.from_numpy(RGB),
    "tensor, channels first": torch.from_numpy(CHANNELS_FIRST),
    "tensor, shares": torch.from_numpy(CHANNELS_FIRST / 255).requires_grad_(),
}
GREY_FORMS: dict[str, Any] = {
    "uint8": GREY,
    "one channel": GREY[..., None],
    "one channel first, shares": GREY[None] / 255,
    "float levels": GREY.astype(float),
    "Pillow": Image.fromarray(GREY),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_array_of_any_usual_form_is_its_pixels(form: str) -> None:
    pixels = ImageDecode()(FORMS[form])
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, RGB)


def test_half_precision_keeps_the_levels_within_one() -> None:
    image = torch.from_numpy(RGB.transpose(2, 0, 1) / 255).bfloat16()
    assert np.abs(ImageDecode()(image).astype(int) - RGB).max() <= 1


@pytest.mark.parametrize("form", GREY_FORMS)
def test_grey_becomes_three_equal_channels(form: str) -> None:
    assert np.array_equal(ImageDecode()(GREY_FORMS[form]), np.dstack([GREY] * 3))


def test_transparent_parts_lie_over_white_as_in_files() -> None:
    image = np.dstack([RGB, RGB[..., :1] // 2])
    from_file = ImageDecode()(encode(Image.fromarray(image), "PNG")).astype(int)
    assert np.abs(ImageDecode()(image) - from_file).max() <= 1


def test_bytes_like_and_file_like_objects_are_decoded(tmp_path: Path) -> None:
    data = encode(quadrants(), "PNG")
    (tmp_path / "a").write_bytes(data)
    written = io.BytesIO()
    written.write(data)  # and not rewound
    with open(tmp_path / "a", "rb") as file:
        for source in (bytearray(data), memoryview(data), io.BytesIO(data), written, file):
            assert colours_at_corners(ImageDecode()(source)) == UPRIGHT


def test_a_pillow_image_is_turned_as_its_file_is_and_stays_as_it_was(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    quadrants().transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        size = image.size
        assert (
            colours_at_corners(ImageDecode()(image)) == UPRIGHT == colours_at_corners(ImageDecode()(tmp_path / "a.png"))
        )
        assert image.size == size


REFUSED: dict[str, Any] = {
    "int is no image: give a path": 5,
    "dict is no image": {},
    r"\[height, width, 3\], not float64\[2, 5, 7\]": np.zeros((2, 5, 7)),
    r"not float64\[0, 5, 3\]": np.zeros((0, 5, 3)),
    "holds nan to nan": np.full((4, 4), np.nan),
    "must hold 0 to 255 or 0 to 1": RGB / 100 - 1,
    "must hold numbers": np.array([["a"]]),
    "open as text": io.StringIO("x"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_anything_else_is_refused_with_a_reason(reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        read_object(REFUSED[reason])


def test_a_pillow_image_of_a_closed_or_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(Image.fromarray(RGB), "PNG")[:-40])
    with Image.open(tmp_path / "a.png") as damaged, pytest.raises(UnreadableImage, match="damaged"):
        read_object(damaged)
