"""A decoded image looks as its owner sees it: upright, in its colours, transparency over white."""

from __future__ import annotations

import io
import struct
from zlib import compress, crc32

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin, features

from pipelines.images.decode import decode
from pipelines.images.jpegxl import claimed_size
from pipelines.images.raw import is_raw
from tests.support.images import (
    BLUE,
    GREEN,
    RED,
    UPRIGHT,
    YELLOW,
    as_stored,
    colours_at_corners,
    encode,
    grey_ramp_16bit,
    hidden_colours,
    photograph,
    quadrants,
    reference,
)
from tests.support.rare_images import JPEG_LOSSLESS, JPEG_XL, JPEG_YCCK
from tests.support.raw_images import dng

SIZE = 224
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")


# --- Orientation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [None, 64])
def test_every_exif_orientation_of_a_jpeg_comes_out_upright(orientation: int, size: int | None) -> None:
    pixels = decode(encode(quadrants(120, 80), "JPEG", orientation, quality=95), size)
    assert pixels.shape == ((80, 120, 3) if size is None else (64, 64, 3))
    assert colours_at_corners(pixels) == UPRIGHT


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_unknown_orientation_is_ignored(orientation: int) -> None:
    assert colours_at_corners(decode(encode(quadrants(), "JPEG", orientation))) == UPRIGHT


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", pytest.param("AVIF", marks=needs_avif)])
@pytest.mark.parametrize("orientation", [3, 6])
def test_formats_other_than_jpeg_are_turned_too(form: str, orientation: int) -> None:
    pixels = decode(encode(quadrants(120, 80), form, orientation))
    assert pixels.shape == (80, 120, 3)
    assert colours_at_corners(pixels) == UPRIGHT


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


@pytest.mark.long
@pytest.mark.parametrize("orientation", [3, 5, 6, 8])
def test_a_large_jpeg_that_is_shrunk_while_decoding_is_turned_and_cropped_like_a_small_one(orientation: int) -> None:
    data = encode(photograph(1600, 1200), "JPEG", orientation, quality=90)
    assert np.abs(decode(data, SIZE).astype(int) - reference(data, SIZE)).mean() < 3
    assert colours_at_corners(decode(encode(quadrants(1600, 1200), "JPEG", orientation), SIZE)) == UPRIGHT


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_costs_only_the_orientation(form: str) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0garbage"
    opaque = encode(quadrants(), form, exif=exif)
    transparent = encode(quadrants().convert("RGBA"), "PNG" if form == "JPEG" else form, exif=exif)
    for data in (opaque, transparent):
        assert decode(data).shape == (80, 120, 3)


def stored_for_6() -> Image.Image:
    """Return the image that orientation 6 turns into the quadrants."""
    return quadrants(120, 80).transpose(Image.Transpose.ROTATE_90)


def exif_of_type(kind: int, count: int = 1) -> bytes:
    """Return EXIF with orientation 6 in a type of TIFF's: 1 BYTE, 3 SHORT, 4 LONG, 6 SBYTE, 8 SSHORT, 9 SLONG."""
    size = {1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4}[kind]
    value = ((6).to_bytes(size, "little") * count).ljust(4, b"\0")
    entry = (0x0112).to_bytes(2, "little") + kind.to_bytes(2, "little") + count.to_bytes(4, "little") + value
    return b"II*\0\x08\0\0\0\1\0" + entry + bytes(4)


XMP_6 = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def assert_upright(data: bytes) -> None:
    for pixels in (decode(data), decode(data, 64)):
        assert colours_at_corners(pixels) == UPRIGHT
    assert decode(data).shape == (80, 120, 3)


@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_webp_is_turned_whether_or_not_its_exif_has_the_prefix_of_a_jpegs(prefix: bytes, mode: str) -> None:
    data = encode(stored_for_6().convert(mode), "WEBP", exif=exif_of_type(3), quality=95)
    at = data.index(b"EXIF")
    body = prefix + exif_of_type(3)
    data = data[:at] + b"EXIF" + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)
    assert_upright(data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:])


@pytest.mark.parametrize("kind", [1, 3, 4, 6, 8, 9])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_of_any_integer_type_turns_the_image(kind: int, form: str) -> None:
    assert_upright(encode(stored_for_6(), form, exif=b"Exif\0\0" + exif_of_type(kind), quality=95))


def test_the_first_of_several_orientations_counts() -> None:
    assert_upright(encode(stored_for_6(), "JPEG", exif=b"Exif\0\0" + exif_of_type(3, count=2), quality=95))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_orientation_of_xmp_counts_where_exif_has_none(form: str) -> None:
    options: dict = {"xmp": XMP_6}
    if form == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP_6.decode())
        options = {"pnginfo": info}
    elif form == "TIFF":
        options = {"tiffinfo": {700: XMP_6}}
    assert_upright(encode(stored_for_6(), form, quality=95, **options))


def test_exif_comes_before_xmp() -> None:
    assert colours_at_corners(decode(encode(quadrants(), "JPEG", orientation=1, xmp=XMP_6))) == UPRIGHT


def png_with(chunk: bytes, data: bytes, late: bool) -> bytes:
    """Return a PNG, stored for orientation 6, with one more chunk before or after its pixels."""
    png = encode(stored_for_6(), "PNG")
    at = png.index(b"IEND" if late else b"IDAT") - 4
    return png[:at] + len(data).to_bytes(4, "big") + chunk + data + crc32(chunk + data).to_bytes(4, "big") + png[at:]


def raw_profile(name: str, profile: bytes) -> tuple[bytes, bytes]:
    """Return the text of ImageMagick's `Raw profile type …`: a name, the length, then hexadecimal digits."""
    digits = profile.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return f"Raw profile type {name}\0".encode(), f"\n{name}\n{len(profile):8}\n{lines}\n".encode()


@pytest.mark.parametrize("late", [False, True])
def test_a_png_is_turned_by_any_metadata_before_or_behind_its_pixels(late: bool) -> None:
    exif = exif_of_type(3)
    assert_upright(png_with(b"eXIf", exif, late))
    assert_upright(png_with(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP_6, late))
    for name, profile in (("exif", b"Exif\0\0" + exif), ("APP1", b"Exif\0\0" + exif), ("xmp", XMP_6)):
        key, text = raw_profile(name, profile)
        assert_upright(png_with(b"tEXt", key + text, late))
        assert_upright(png_with(b"zTXt", key + b"\0" + compress(text), late))


@pytest.mark.parametrize("late", [False, True])
def test_damaged_metadata_of_a_png_costs_only_the_orientation(late: bool) -> None:
    key, _ = raw_profile("APP1", b"")
    for chunk, data in ((b"eXIf", b"II*\0"), (b"tEXt", key + b"\nAPP1\n 9\nnothex"), (b"zTXt", key + b"\0garbage")):
        assert decode(png_with(chunk, data, late)).shape == (120, 80, 3)


# --- Colours ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "PPM", "TIFF"])
def test_grey_has_three_equal_channels(form: str) -> None:
    pixels = decode(encode(quadrants().convert("L"), form))
    assert pixels.shape == (80, 120, 3)
    assert np.abs(np.ptp(pixels.astype(int), axis=-1)).max() <= 1
    assert len(np.unique(pixels[20::40, 30::60, 0])) == 4


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", pytest.param("AVIF", marks=needs_avif)])
@pytest.mark.parametrize("hidden", [(0, 0, 0), (255, 0, 255), (200, 100, 50)])
def test_transparency_is_laid_over_white_whatever_colour_is_under_it(form: str, hidden: tuple) -> None:
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
def test_cmyk_has_the_same_colours_as_in_pillow(form: str) -> None:
    data = encode(quadrants().convert("CMYK"), form, quality=95)
    expected = np.array(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(decode(data) - expected).max() <= 3


@pytest.mark.parametrize("adobe", [True, False])
def test_cmyk_with_and_without_adobes_marker_has_the_same_colours_as_in_pillow(adobe: bool) -> None:
    data = encode(quadrants().convert("CMYK"), "JPEG", quality=95)
    if not adobe:  # Pillow inverts only if the marker is there
        at = data.index(b"\xff\xee")
        data = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    expected = np.array(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(decode(data) - expected).max() <= 3


def test_a_colour_profile_is_ignored_as_in_the_reference() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for form in ("JPEG", "PNG", "WEBP"):
        data = encode(Image.new("RGB", (16, 16), (100, 200, 60)), form, icc_profile=profile, quality=95)
        assert np.abs(decode(data)[8, 8].astype(int) - (100, 200, 60)).max() <= 3, form


# --- Formats ---------------------------------------------------------------------------------------------------------


def test_a_progressive_jpeg_decodes_to_the_same_pixels() -> None:
    image = photograph(300, 200)
    assert np.array_equal(decode(encode(image, "JPEG", progressive=True)), decode(encode(image, "JPEG")))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF", pytest.param("AVIF", marks=needs_avif)])
def test_the_first_frame_of_an_animation_or_page_of_a_document_is_taken(form: str) -> None:
    black = Image.new("RGB", (120, 80))
    data = encode(quadrants(), form, save_all=True, append_images=[black, black])
    pixels = decode(data)
    assert pixels.shape == (80, 120, 3)
    assert colours_at_corners(pixels) == UPRIGHT


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
def test_a_rare_kind_of_image_keeps_its_colours(kind: str) -> None:
    if "2000" in kind and not features.check("jpg_2000"):
        pytest.skip("this Pillow has no JPEG 2000")
    if "ZSTD" in kind and not features.check("libtiff"):
        pytest.skip("this Pillow has no libtiff")
    assert colours_at_corners(decode(ACCEPTED[kind]())) == UPRIGHT


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


def bmp(bits: int, pixels: bytes, palette: bytes = b"", compression: int = 0, gap: int = 0) -> bytes:
    """Return a BMP of 8×2 pixels, with some unused bytes before them."""
    offset = 54 + len(palette) + gap
    header = struct.pack("<IiiHHIIiiII", 40, 8, 2, 1, bits, compression, len(pixels), 0, 0, len(palette) // 4, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + header + palette + bytes(gap) + pixels


PALETTE = bytes([0, 0, 0, 0, *RED[::-1], 0, *GREEN[::-1], 0])
ODD_BMPS = {
    "16 bits": (bmp(16, struct.pack("<16H", *[31 << 10] * 8, *[31 << 5] * 8)), (0, 255, 0), (255, 0, 0)),
    "RLE of 4 bits": (bmp(4, b"\x08\x11\0\0\x08\x22\0\0\0\1", PALETTE, compression=2), GREEN, RED),
    "a gap": (bmp(8, b"\1" * 8 + b"\2" * 8, PALETTE, gap=21), GREEN, RED),
}


@pytest.mark.parametrize("kind", ODD_BMPS)
def test_an_odd_bmp_keeps_its_colours(kind: str) -> None:
    data, above, below = ODD_BMPS[kind]
    pixels = decode(data)
    assert (pixels[0] == above).all(), pixels[0]
    assert (pixels[1] == below).all(), pixels[1]


# --- RAW -------------------------------------------------------------------------------------------------------------


def colours_of_sensor(pixels: np.ndarray) -> list[str]:
    """Return the nearest colour names of the four quadrants, because LibRaw brightens as a camera does."""
    height, width = pixels.shape[:2]
    corners = pixels[height // 4 :: height // 2, width // 4 :: width // 2].reshape(4, 3).astype(int)
    colours = {"red": RED, "green": GREEN, "blue": BLUE, "yellow": YELLOW}
    return [min(colours, key=lambda name: np.abs(corner - colours[name]).sum()) for corner in corners]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_raw_without_a_preview_is_read_at_half_its_size_and_turned(orientation: int) -> None:
    pytest.importorskip("rawpy", reason="RAW is an extra: pip install rawpy")
    data = dng(as_stored(quadrants(96, 64), orientation), orientation)
    assert decode(data).shape == (32, 48, 3)
    assert decode(data, 64).shape == (64, 64, 3)
    for pixels in (decode(data), decode(data, 64)):
        assert colours_of_sensor(pixels) == UPRIGHT


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("has_exif", [False, True])
def test_the_preview_of_a_raw_is_taken_and_turned_once(orientation: int, has_exif: bool) -> None:
    pytest.importorskip("rawpy", reason="RAW is an extra: pip install rawpy")
    stored = as_stored(quadrants(96, 64), orientation)
    preview = (
        encode(quadrants(96, 64), "JPEG", orientation, quality=95) if has_exif else encode(stored, "JPEG", quality=95)
    )
    data = dng(Image.new("RGB", stored.size), orientation, preview)  # the sensor's own image is black
    assert decode(data).shape == (64, 96, 3)
    for pixels in (decode(data), decode(data, 48)):
        assert colours_at_corners(pixels) == UPRIGHT


def test_a_preview_whose_exif_names_no_orientation_is_turned_as_the_raw_is() -> None:
    pytest.importorskip("rawpy", reason="RAW is an extra: pip install rawpy")
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    preview = encode(stored_for_6(), "JPEG", exif=exif.tobytes(), quality=95)
    assert_upright(dng(Image.new("RGB", (80, 120)), 6, preview))


@pytest.mark.parametrize("size", [None, 24, 224])
def test_a_preview_that_is_smaller_than_the_model_needs_or_damaged_gives_way_to_the_sensor(size: int | None) -> None:
    pytest.importorskip("rawpy", reason="RAW is an extra: pip install rawpy")
    small = encode(Image.new("RGB", (24, 16)), "JPEG")
    cut = encode(Image.new("RGB", (96, 64)), "JPEG")[:-60]
    for preview in (small, cut):
        assert colours_of_sensor(decode(dng(quadrants(96, 64), preview=preview), size)) == UPRIGHT


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_raw_that_begins_with_a_preview_for_tiff_readers_is_read_as_a_raw(order: str) -> None:
    pytest.importorskip("rawpy", reason="RAW is an extra: pip install rawpy")
    assert is_raw(dng(quadrants(64, 64), preview=encode(quadrants(64, 64), "JPEG"), order=order))
    assert colours_of_sensor(decode(dng(quadrants(64, 64), order=order))) == UPRIGHT
    for compression in (None, "tiff_lzw", "jpeg"):
        assert not is_raw(encode(photograph(64, 64), "TIFF", compression=compression, big_tiff=False))


# --- JPEG XL ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("shape", [(80, 120), (64, 64), (72, 96), (75, 321)])
def test_a_jpeg_xl_of_any_depth_keeps_its_colours(dtype: type, lossless: bool, shape: tuple[int, int]) -> None:
    imagecodecs = pytest.importorskip("imagecodecs", reason="JPEG XL is an extra: pip install imagecodecs")
    levels = np.array(quadrants(shape[1], shape[0]))
    white = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]
    data = imagecodecs.jpegxl_encode((levels / 255 * white).astype(dtype), lossless=lossless)
    pixels = decode(data)
    assert (pixels.shape, pixels.dtype) == (levels.shape, np.uint8)
    assert np.abs(pixels.astype(int) - levels).mean() <= (1 if lossless else 4)
    assert colours_at_corners(decode(data, 64)) == UPRIGHT
    assert claimed_size(data) == shape[::-1]


def test_a_jpeg_xl_in_a_container_grey_transparent_or_animated_is_read_as_a_png_would_be() -> None:
    imagecodecs = pytest.importorskip("imagecodecs", reason="JPEG XL is an extra: pip install imagecodecs")
    encoder = imagecodecs.jpegxl_encode
    assert colours_at_corners(decode(JPEG_XL)) == UPRIGHT
    colours = np.array(quadrants())
    assert colours_at_corners(decode(encoder(colours, lossless=True, usecontainer=True))) == UPRIGHT
    assert colours_at_corners(decode(encoder(np.stack([colours, colours // 2]), lossless=True))) == UPRIGHT
    grey = colours[..., 0]
    assert np.array_equal(decode(encoder(grey, lossless=True)), np.repeat(grey[..., None], 3, -1))
    half = np.dstack([colours, np.where(np.arange(120) < 60, 255, 0)[None].repeat(80, 0).astype(np.uint8)])
    assert decode(encoder(half, lossless=True))[:, 60:].min() == 255
    assert decode(encoder(half[..., [0, 3]], lossless=True))[:, 60:].min() == 255


# --- Formats that Pillow reads by itself -----------------------------------------------------------------------------


def psd(image: Image.Image) -> bytes:
    """Return a Photoshop document without layers: only its uncompressed composite."""
    width, height = image.size
    sizes = (3).to_bytes(2, "big") + height.to_bytes(4, "big") + width.to_bytes(4, "big")
    planes = b"".join(band.tobytes() for band in image.split())
    return b"8BPS\0\1" + bytes(6) + sizes + b"\0\x08\0\3" + bytes(12) + b"\0\0" + planes


RARE = ["TGA", "PCX", "SGI", "QOI", "ICO", "ICNS", "DDS", "DIB", "PSD", "MPO"]


@pytest.mark.parametrize("form", RARE)
def test_a_format_that_pillow_reads_by_itself_keeps_its_colours(form: str) -> None:
    image = quadrants(64, 64)
    data = psd(image) if form == "PSD" else encode(image, form, **({"quality": 95} if form == "MPO" else {}))
    assert colours_at_corners(decode(data)) == UPRIGHT
    assert colours_at_corners(decode(data, 32)) == UPRIGHT


@pytest.mark.parametrize("form", ["TGA", "QOI", "ICO", "ICNS", "DDS"])
def test_transparency_of_a_rare_format_is_laid_over_white(form: str) -> None:
    image = Image.open(io.BytesIO(hidden_colours((10, 20, 200), "PNG"))).resize((64, 64))
    pixels = decode(encode(image, form))
    height, width = pixels.shape[:2]
    assert np.abs(pixels[height // 2, width // 10].astype(int) - (10, 20, 200)).max() <= 3
    assert pixels[height // 2, width * 9 // 10].min() >= 250


def test_an_xbm_is_black_on_white() -> None:
    image = Image.new("1", (32, 32), 1)
    image.paste(0, (16, 0, 32, 32))
    pixels = decode(encode(image, "XBM"))
    assert (pixels[:, :15].min(), pixels[:, 17:].max()) == (255, 0)


def netpbm(magic: str, maxval: int) -> bytes:
    """Return a ramp of 64 steps from black to white, as PGM (P2, P5) or PPM (P3, P6); P2 and P3 are text."""
    ramp = np.tile((np.linspace(0, 1, 64) * maxval).round().astype(int), (64, 1))
    ramp = np.repeat(ramp[..., None], 3 if magic in ("P3", "P6") else 1, -1)
    values = ramp.astype(np.uint8 if maxval < 256 else ">u2").tobytes()
    if magic in ("P2", "P3"):
        values = "\n".join(map(str, ramp.ravel())).encode() + b"\n"
    return f"{magic}\n64 64\n{maxval}\n".encode() + values


@pytest.mark.parametrize("magic", ["P2", "P3", "P5", "P6"])
@pytest.mark.parametrize("maxval", [1, 15, 100, 254, 255, 256, 1023, 4095, 65534, 65535])
def test_a_pgm_or_ppm_is_as_bright_as_its_maxval_says(magic: str, maxval: int) -> None:
    expected = (np.linspace(0, 1, 64) * maxval).round() * 255 / maxval
    for data in (netpbm(magic, maxval), netpbm(magic, maxval)[:-1] if magic < "P4" else netpbm(magic, maxval)):
        assert np.abs(decode(data)[32] - expected[:, None]).max() <= 1


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


@pytest.mark.parametrize("colour", [RED, GREEN, BLUE, YELLOW])
def test_one_pixel_is_an_image(colour: tuple[int, int, int]) -> None:
    assert np.abs(decode(encode(Image.new("RGB", (1, 1), colour), "PNG"), 224).astype(int) - colour).max() <= 1
