"""Decoding: what an image's owner sees is what the model gets, and nothing kills, hangs or fills the process."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from pipelines.errors import UnreadableImage
from pipelines.images.decode import decode
from pipelines.operators.image_decode import ImageDecode
from tests.support.images import (
    UPRIGHT,
    colours_at_corners,
    encode,
    grey_ramp_16bit,
    hidden_colours,
    photograph,
    quadrants,
    reference,
)

SIZE = 224
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")


# --- Upright ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [None, 64])
def test_every_exif_orientation_of_a_jpeg_comes_out_upright(orientation: int, size: int | None) -> None:
    pixels = decode(encode(quadrants(120, 80), "JPEG", orientation, quality=95), size)
    assert pixels.shape == ((80, 120, 3) if size is None else (64, 64, 3))
    assert colours_at_corners(pixels) == UPRIGHT


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_does_not_exist_is_no_orientation(orientation: int) -> None:
    assert colours_at_corners(decode(encode(quadrants(), "JPEG", orientation))) == UPRIGHT


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", pytest.param("AVIF", marks=needs_avif)])
@pytest.mark.parametrize("orientation", [3, 6])
def test_formats_other_than_jpeg_are_turned_too(form: str, orientation: int) -> None:
    pixels = decode(encode(quadrants(120, 80), form, orientation))
    assert pixels.shape == (80, 120, 3)
    assert colours_at_corners(pixels) == UPRIGHT


@pytest.mark.parametrize("orientation", [3, 5, 6, 8])
def test_a_large_jpeg_that_is_shrunk_while_decoding_is_turned_and_cropped_like_a_small_one(orientation: int) -> None:
    data = encode(photograph(1600, 1200), "JPEG", orientation, quality=90)
    assert np.abs(decode(data, SIZE).astype(int) - reference(data, SIZE)).mean() < 3
    assert colours_at_corners(decode(encode(quadrants(1600, 1200), "JPEG", orientation), SIZE)) == UPRIGHT


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_costs_the_orientation_and_not_the_image(form: str) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0garbage"
    opaque = encode(quadrants(), form, exif=exif)
    transparent = encode(quadrants().convert("RGBA"), "PNG" if form == "JPEG" else form, exif=exif)
    for data in (opaque, transparent):
        assert decode(data).shape == (80, 120, 3)


# --- Modes and formats -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "PPM", "TIFF"])
def test_grey_has_three_equal_channels(form: str) -> None:
    pixels = decode(encode(quadrants().convert("L"), form))
    assert pixels.shape == (80, 120, 3)
    assert np.abs(np.ptp(pixels.astype(int), axis=-1)).max() <= 1
    assert len(np.unique(pixels[20::40, 30::60, 0])) == 4


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", pytest.param("AVIF", marks=needs_avif)])
@pytest.mark.parametrize("hidden", [(0, 0, 0), (255, 0, 255), (200, 100, 50)])
def test_transparency_is_laid_over_white_whatever_colour_hides_under_it(form: str, hidden: tuple) -> None:
    options = {"lossless": True, "exact": True} if form == "WEBP" else {"quality": 95} if form == "AVIF" else {}
    pixels = decode(hidden_colours(hidden, form, **options)).astype(int)
    assert np.abs(pixels[:, 5:35] - hidden).max() <= 12
    assert pixels[:, 45:].min() >= 250


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    pixels = decode(encode(Image.new("RGBA", (8, 8), (0, 0, 200, 128)), "PNG"))
    assert np.abs(pixels[4, 4].astype(int) - (127, 127, 227)).max() <= 1


@needs_avif
def test_a_turned_avif_with_transparency_keeps_its_colours() -> None:
    data = encode(quadrants().convert("RGBA"), "AVIF", orientation=6, quality=95)
    assert colours_at_corners(decode(data)) == UPRIGHT


def test_grey_with_alpha_is_laid_over_white() -> None:
    image = Image.merge(
        "LA",
        (Image.new("L", (40, 20), 90), Image.linear_gradient("L").resize((40, 20)).point(lambda v: 255 * (v > 127))),
    )
    pixels = decode(encode(image, "PNG"))
    assert tuple(pixels[2, 20]) == (255, 255, 255)
    assert tuple(pixels[17, 20]) == (90, 90, 90)


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(form: str) -> None:
    image = quadrants().quantize(4)
    index = image.getpixel((5, 5))
    pixels = decode(encode(image, form, transparency=index))
    assert tuple(pixels[20, 30]) == (255, 255, 255)
    assert colours_at_corners(pixels)[1:] == UPRIGHT[1:]


@pytest.mark.parametrize(("mode", "key"), [("RGB", (220, 30, 30)), ("L", 60), ("1", 0)])
def test_a_transparent_colour_without_a_palette_is_white(mode: str, key: object) -> None:
    image = Image.new(mode, (20, 10), key)  # type: ignore[arg-type]
    assert decode(encode(image, "PNG", transparency=key)).min() == 255


def test_one_bit_a_pixel_is_black_and_white() -> None:
    image = Image.new("1", (40, 20), 0)
    image.paste(1, (20, 0, 40, 20))
    for form in ("PNG", "TIFF", "BMP", "PPM"):
        pixels = decode(encode(image, form))
        assert (pixels[:, :19].max(), pixels[:, 21:].min()) == (0, 255), form


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_a_16_bit_grey_ramp_is_a_ramp_and_not_white(form: str) -> None:
    row = decode(grey_ramp_16bit(form))[32, :, 0].astype(int)
    assert (row[0], row[-1]) == (0, 255)
    assert np.abs(row - np.arange(256)).max() <= 1


def test_a_16_bit_grey_image_with_a_transparent_value_is_not_white() -> None:
    data = encode(Image.fromarray(np.full((8, 8), 20_000, np.uint16)), "PNG", transparency=1234)
    assert abs(int(decode(data)[4, 4, 0]) - 78) <= 1
    assert decode(encode(Image.fromarray(np.full((8, 8), 1234, np.uint16)), "PNG", transparency=1234)).min() == 255


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_has_the_colours_pillow_gives_it(form: str) -> None:
    data = encode(quadrants().convert("CMYK"), form, quality=95)
    expected = np.array(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(decode(data) - expected).max() <= 3


def test_a_progressive_jpeg_is_the_same_image() -> None:
    image = photograph(300, 200)
    assert np.array_equal(decode(encode(image, "JPEG", progressive=True)), decode(encode(image, "JPEG")))


@pytest.mark.parametrize(("form", "name"), [("PNG", "a.jpg"), ("JPEG", "b.png"), ("WEBP", "no extension")])
def test_the_content_decides_and_not_the_name(form: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(encode(quadrants(), form))
    assert colours_at_corners(decode(tmp_path / name)) == UPRIGHT


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF", pytest.param("AVIF", marks=needs_avif)])
def test_of_an_animation_or_many_pages_the_first_is_taken(form: str) -> None:
    black = Image.new("RGB", (120, 80))
    data = encode(quadrants(), form, save_all=True, append_images=[black, black])
    pixels = decode(data)
    assert pixels.shape == (80, 120, 3)
    assert colours_at_corners(pixels) == UPRIGHT


# --- Shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(1, 1), (3, 3), (1, 10_000), (10_000, 1), (2, 5000), (223, 1000), (1000, 223), (224, 224), (225, 224)]
)
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_every_shape_becomes_the_models_square(shape: tuple[int, int], form: str) -> None:
    data = encode(Image.new("RGB", shape, (10, 120, 240)), form, **({"quality": 95} if form == "JPEG" else {}))
    pixels = decode(data, SIZE)
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels.flags.c_contiguous
    assert np.abs(pixels.astype(int) - (10, 120, 240)).max() <= 4


def test_the_middle_of_a_very_long_image_is_kept() -> None:
    stripes = np.zeros((20, 5000, 3), np.uint8)
    stripes[:, 2490:2510] = (255, 0, 0)
    for pixels in (stripes, stripes.transpose(1, 0, 2)):
        kept = decode(encode(Image.fromarray(np.ascontiguousarray(pixels)), "PNG"), SIZE)
        assert kept[:, :, 0].mean() > 240


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("off", [-1, 0, 1])
def test_at_each_threshold_of_the_jpeg_shrink_the_image_stays_the_same(factor: int, off: int) -> None:
    short = 2 * 112 * factor + off
    data = encode(photograph(short + 100, short), "JPEG", quality=90)
    assert np.abs(decode(data, 112).astype(int) - reference(data, 112)).mean() < 3


# --- Fidelity --------------------------------------------------------------------------------------------------------


def real_images() -> list[Image.Image]:
    from skimage import data

    return [Image.fromarray(getattr(data, name)()) for name in ("astronaut", "chelsea", "coffee", "rocket")]


def test_without_a_shrink_the_pixels_are_those_of_clips_own_preprocessing() -> None:
    made = [
        photograph(500, 375),
        photograph(375, 500, seed=2),
        photograph(300, 225, seed=3),
        photograph(640, 440, seed=4),
    ]
    for image in (*made, *real_images()):
        for form in ("JPEG", "PNG"):
            data = encode(image, form, **({"quality": 92} if form == "JPEG" else {}))
            # 448 is where a JPEG of twice the size would be shrunk
            size = SIZE if min(image.size) < 4 * SIZE else 336
            difference = np.abs(decode(data, size).astype(int) - reference(data, size))
            assert difference.mean() <= 0.1, (image.size, form)
            assert difference.max() <= 8, (image.size, form)


def test_with_a_shrink_the_image_looks_the_same() -> None:
    from skimage.metrics import structural_similarity

    enlarged = [image.resize((1800, 1800 * image.height // image.width), 1) for image in real_images()]
    for image in (photograph(1920, 1080), photograph(1200, 2000, seed=2), *enlarged):
        data = encode(image, "JPEG", quality=90)
        got, expected = decode(data, SIZE), reference(data, SIZE)
        assert np.abs(got.astype(int) - expected).mean() <= 3, image.size
        assert structural_similarity(got, expected, channel_axis=2) >= 0.98, image.size


# --- The operator ----------------------------------------------------------------------------------------------------


def test_a_list_keeps_its_order_and_a_bad_one_costs_only_itself() -> None:
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


def test_the_order_of_the_channels_is_the_one_asked_for() -> None:
    data = encode(Image.new("RGB", (9, 9), (200, 100, 50)), "PNG")
    assert tuple(ImageDecode("rgb")(data)[4, 4]) == (200, 100, 50)
    assert tuple(ImageDecode("bgr")(data)[4, 4]) == (50, 100, 200)
    with pytest.raises(ValueError, match="'rgb' or 'bgr'"):
        ImageDecode("grey")


def test_decode_itself_raises_with_the_reason() -> None:
    with pytest.raises(UnreadableImage, match="empty"):
        decode(b"")
