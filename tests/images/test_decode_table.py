"""The rows of the correctness table that test_decode and test_decode_refusals do not have: the rarer kinds of file."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from pipelines.errors import UnreadableImage
from pipelines.images.decode import decode
from tests.support.images import (
    BLUE,
    GREEN,
    RED,
    UPRIGHT,
    YELLOW,
    colours_at_corners,
    encode,
    hidden_colours,
    photograph,
    quadrants,
    webp_claiming,
)
from tests.support.rare_images import JPEG_12_BIT, JPEG_LOSSLESS, JPEG_LS, JPEG_XL, JPEG_XR, JPEG_YCCK


def refusal(data: bytes) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- Orientation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(2, 9))
def test_every_orientation_of_a_tiff_comes_out_upright(orientation: int) -> None:
    """OpenCV's imread fails for 5 to 8."""
    pixels = decode(encode(quadrants(120, 80), "TIFF", orientation))
    assert pixels.shape == (80, 120, 3)
    assert colours_at_corners(pixels) == UPRIGHT


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_every_orientation_of_a_png_comes_out_upright_by_opencv_and_by_pillow(orientation: int, mode: str) -> None:
    pixels = decode(encode(quadrants(120, 80).convert(mode), "PNG", orientation))
    assert pixels.shape == (80, 120, 3)
    assert colours_at_corners(pixels) == UPRIGHT


# --- Modes and formats -----------------------------------------------------------------------------------------------


def sixteen_bits(form: str, alpha: bool = False) -> bytes:
    import cv2

    pixels = np.array(quadrants())[..., ::-1].astype(np.uint16) * 257
    if alpha:
        pixels = np.dstack([pixels, np.full(pixels.shape[:2], 65535, np.uint16)])
    return bytes(cv2.imencode(form, pixels)[1])


def lab_tiff() -> bytes:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.applyTransform(quadrants(), ImageCms.buildTransform(srgb, lab, "RGB", "LAB"))
    assert image is not None
    return encode(image, "TIFF")


ACCEPTED = {
    "16-bit RGB PNG": lambda: sixteen_bits(".png"),
    "16-bit RGBA PNG": lambda: sixteen_bits(".png", alpha=True),
    "16-bit RGB TIFF": lambda: sixteen_bits(".tif"),
    "LAB TIFF": lab_tiff,
    "BigTIFF": lambda: encode(quadrants(), "TIFF", big_tiff=True),
    "LZW TIFF": lambda: encode(quadrants(), "TIFF", compression="tiff_lzw"),
    "deflate TIFF": lambda: encode(quadrants(), "TIFF", compression="tiff_adobe_deflate"),
    "JPEG TIFF": lambda: encode(quadrants(), "TIFF", compression="jpeg"),
    "packbits TIFF": lambda: encode(quadrants(), "TIFF", compression="packbits"),
    "ZSTD TIFF": lambda: encode(quadrants(), "TIFF", compression="zstd"),
    "palette BMP": lambda: encode(quadrants().quantize(4), "BMP"),
    "RGBA BMP": lambda: encode(quadrants().convert("RGBA"), "BMP"),
    "palette PNG": lambda: encode(quadrants().quantize(4), "PNG"),
    "palette GIF": lambda: encode(quadrants().quantize(4), "GIF"),
    "JPEG 2000": lambda: encode(quadrants(), "JPEG2000"),
    "JPEG 2000 codestream": lambda: encode(quadrants(), "JPEG2000", no_jp2=True),
    "JPEG 2000 with alpha": lambda: encode(quadrants().convert("RGBA"), "JPEG2000"),
    "lossless JPEG": lambda: JPEG_LOSSLESS,
    "YCCK JPEG": lambda: JPEG_YCCK,
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_a_rare_kind_of_image_has_its_colours(kind: str) -> None:
    if "2000" in kind and not features.check("jpg_2000"):
        pytest.skip("this Pillow has no JPEG 2000")
    if "ZSTD" in kind and not features.check("libtiff"):
        pytest.skip("this Pillow has no libtiff")
    assert colours_at_corners(decode(ACCEPTED[kind]())) == UPRIGHT


@pytest.mark.parametrize("adobe", [True, False])
def test_cmyk_with_and_without_adobes_marker_is_what_pillow_makes_of_it(adobe: bool) -> None:
    data = encode(quadrants().convert("CMYK"), "JPEG", quality=95)
    if not adobe:  # Pillow inverts where the marker is
        at = data.index(b"\xff\xee")
        data = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    expected = np.array(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(decode(data) - expected).max() <= 3


def test_a_colour_profile_is_not_applied_as_in_the_reference() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for form in ("JPEG", "PNG", "WEBP"):
        data = encode(Image.new("RGB", (16, 16), (100, 200, 60)), form, icc_profile=profile, quality=95)
        assert np.abs(decode(data)[8, 8].astype(int) - (100, 200, 60)).max() <= 3, form


@pytest.mark.parametrize("orientation", [0, 3, 6])
def test_heic_is_read_and_turned_with_pillow_heif(orientation: int) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="HEIC is an extra: pip install pillow-heif")
    pillow_heif.register_heif_opener()
    pixels = decode(encode(quadrants(120, 80), "HEIF", orientation, quality=95))
    assert pixels.shape == (80, 120, 3)
    assert colours_at_corners(pixels) == UPRIGHT


def test_transparency_of_a_heic_is_laid_over_white() -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="HEIC is an extra: pip install pillow-heif")
    pillow_heif.register_heif_opener()
    pixels = decode(hidden_colours((0, 0, 0), "HEIF"))
    assert (pixels[:, 5:35].max() <= 12, pixels[:, 45:].min() >= 250) == (True, True)


# --- Damaged ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("percent", [2, 25, 50, 75, 99])
def test_a_jpeg_cut_anywhere_is_refused(progressive: bool, percent: int) -> None:
    data = encode(photograph(400, 300), "JPEG", progressive=progressive)
    assert any(word in refusal(data[: len(data) * percent // 100]) for word in ("truncated", "damaged"))


@pytest.mark.parametrize("size", [None, 32])
def test_a_jpeg_without_its_end_marker_is_refused(size: int | None) -> None:
    with pytest.raises(UnreadableImage, match="truncated"):
        decode(encode(photograph(400, 300), "JPEG")[:-2], size)


def test_zero_bytes_after_the_end_are_no_damage() -> None:
    data = encode(photograph(200, 150), "JPEG")
    assert np.array_equal(decode(data + bytes(100)), decode(data))


def test_a_jpeg_damaged_in_the_middle_is_taken_as_the_reference_takes_it() -> None:
    data = encode(photograph(200, 150), "JPEG")
    middle = len(data) // 2
    assert decode(data[:middle] + bytes(200) + data[middle + 200 :]).shape == (150, 200, 3)


def test_junk_before_a_jpeg_is_refused() -> None:
    assert "not an image" in refusal(b"xx" + encode(quadrants(), "JPEG"))


def test_a_header_followed_by_noise_is_refused() -> None:
    data = encode(photograph(200, 150), "JPEG")
    start = data[: data.index(b"\xff\xc0") + 19]
    assert "damaged" in refusal(start + np.random.default_rng(0).bytes(3000))


def test_a_wrong_byte_in_a_png_is_refused() -> None:
    data = bytearray(encode(photograph(50, 50), "PNG"))
    data[len(data) // 2] ^= 255
    assert "damaged" in refusal(bytes(data))


# --- Not supported, by name ------------------------------------------------------------------------------------------


def floating_point_rgb() -> bytes:
    import cv2

    return bytes(cv2.imencode(".tif", np.full((8, 8, 3), 0.5, np.float32))[1])


REFUSED = {
    "12 bits": (JPEG_12_BIT, "12 bits"),
    "JPEG-LS": (JPEG_LS, "JPEG-LS"),
    "JPEG XL": (JPEG_XL, "JPEG XL"),
    "JPEG XR": (JPEG_XR, "JPEG XR"),
    "ICO": (encode(quadrants(64, 64), "ICO"), "icon"),
    "ICNS": (encode(quadrants(64, 64), "ICNS"), "icon"),
    "DDS": (encode(quadrants(64, 64), "DDS"), "DDS"),
    "QOI": (encode(quadrants(64, 64), "QOI"), "QOI"),
    "TGA": (encode(quadrants(64, 64), "TGA"), "not an image of a known format"),
    "PCX": (encode(quadrants(64, 64), "PCX"), "not an image of a known format"),
    "EPS": (encode(quadrants(64, 64), "EPS"), "PostScript"),
    "PFM": (b"PF\n1 1\n-1.0\n" + bytes(12), "floating-point"),
    "grey PFM": (b"Pf\n1 1\n-1.0\n" + bytes(4), "floating-point"),
    "float RGB TIFF": (floating_point_rgb(), "floating-point"),
    "HDR": (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n" + bytes(4), "Radiance HDR"),
    "EXR": (b"\x76\x2f\x31\x01" + bytes(100), "OpenEXR"),
    "PSD": (b"8BPS\0\1" + bytes(100), "Photoshop"),
    "CR3": (b"\0\0\0\x18ftypcrx " + bytes(100), "RAW"),
    "RAF": (b"FUJIFILMCCD-RAW 0201" + bytes(100), "RAW"),
    "MP4": (b"\0\0\0\x18ftypisom" + bytes(100), "a video"),
    "WebM": (b"\x1a\x45\xdf\xa3" + bytes(100), "a video"),
    "AVI": (b"RIFF\0\0\1\0AVI LIST" + bytes(100), "a video"),
    "ZIP": (b"PK\x03\x04" + bytes(100), "ZIP"),
    "gzip": (b"\x1f\x8b\x08" + bytes(100), "gzip"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "AVIF cut": (b"\0\0\0\x20ftypavif" + bytes(20), "AVIF damaged"),
    "PNG cut": (b"\x89PNG\r\n", "PNG damaged"),
    "GIF cut": (b"GIF89a", "GIF damaged"),
    "WebP cut": (b"RIFF\x24\0\0\0WEBPVP8 ", "WebP damaged"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_called_by_its_name(kind: str) -> None:
    data, word = REFUSED[kind]
    assert word in refusal(data)


# --- Sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("short", "expected"), [(895, 1), (896, 2), (1791, 2), (1792, 4), (3583, 4), (3584, 8)])
def test_a_jpeg_is_shrunk_from_twice_the_wanted_size_on(short: int, expected: int) -> None:
    """448 is twice CLIP's 224: at 2 × 448 the half of it still has 448."""
    from pipelines.images.decode import _jpeg_shrink, _read_header

    header = _read_header(encode(Image.new("RGB", (short + 10, short)), "JPEG"))
    assert _jpeg_shrink(header, 224) == expected
    assert _jpeg_shrink(header, None) == 1


def test_a_tiny_webp_that_claims_268_megapixels_is_refused_by_its_header() -> None:
    from pipelines.images.decode import MAX_PIXELS_STORED

    side = 16_383
    assert side**2 > MAX_PIXELS_STORED
    assert "too many pixels" in refusal(webp_claiming(side))


@pytest.mark.parametrize("colour", [RED, GREEN, BLUE, YELLOW])
def test_one_pixel_is_an_image(colour: tuple[int, int, int]) -> None:
    assert np.abs(decode(encode(Image.new("RGB", (1, 1), colour), "PNG"), 224).astype(int) - colour).max() <= 1
