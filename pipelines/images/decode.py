"""Decode the bytes of an image to RGB pixels with OpenCV, or raise an error that says why it cannot.

No damaged or hostile file may crash or hang the process or fill its memory: the header is checked before anything is
decoded, and a large JPEG is shrunk while it is decoded. Pillow decodes what OpenCV gets wrong: transparency, AVIF, LAB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import OutOfMemory, TooLarge, UnreadableImage
from .cost import is_quick, refuse_large_tiles, scanned_pixels
from .fit import Fit, as_fit
from .formats import HEAVY_FORMATS, OPENCV_FORMATS, open_image
from .jpegxl import is_jpegxl, read_jpegxl
from .orientation import orientation_of, read_png_chunks, turn_upright
from .preprocess import fit_image
from .raw import decode_raw, is_raw

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS_DECODED = 128_000_000  # held in memory, 3 bytes each
STRIP_PIXELS = 4_000_000
# Pillow's modes of the images that OpenCV decodes as exactly as Pillow, and faster.
OPENCV_MODES = frozenset({"1", "L", "P", "RGB", "CMYK", "YCbCr", "I;16", "I;16B", "I"})
MAX_PIXELS_SLOW = 4096 * 4096  # if Pillow decodes in Python
MEMORY_FOR_ONE_IMAGE = 2**30  # bytes, for MAX_PIXELS_DECODED with transparency
# Formats whose decoders in Pillow 12 have security holes that Pillow 13 closes (SECURITY.md). Pillow always decodes
# the first two, and the others only if OpenCV does not.
_UNSAFE_IN_PILLOW = ("JPEG2000", "ICNS", "JPEG", "MPO", "TIFF")


class SlowImage(Exception):
    """The image may take long to decode, and `only_quick` was given."""


def decode(
    data: bytes, size: int | Fit | None = None, exact: bool = False, edge: int | None = None, only_quick: bool = False,
    only_safe: bool = False,
) -> np.ndarray:  # fmt: skip
    """Decode one image, upright (by its EXIF) and with transparency over white.

    Args:
        data: the bytes of the image's file.
        size: a model's square input, or its edge in pixels; the image is then resized and cropped to it.
        exact: never shrink a JPEG while it is decoded.
        edge: long side, in pixels, below which a JPEG is not shrunk while it is decoded; for calls without `size`.
        only_quick: decode no image that may take long.
        only_safe: use no decoder with a known security hole; for images from strangers.

    Returns:
        uint8[height, width, 3] RGB, or uint8[size, size, 3].

    Raises:
        UnreadableImage: with the reason.
        OutOfMemory: there is too little memory; the image itself may be good.
        SlowImage: see `only_quick`.
    """
    fit = None if size is None else as_fit(size)
    try:
        return _decode(data, fit, exact, edge, only_quick, only_safe)
    except MemoryError:
        pass  # another thread may have held the memory
    try:
        return _decode(data, fit, exact, edge, only_quick, only_safe)
    except MemoryError as error:
        if _has_memory():
            raise UnreadableImage("damaged: it asks for more memory than an image needs") from error
        raise OutOfMemory("there is not enough memory to decode an image: close other programs") from error


def _decode(
    data: bytes, fit: Fit | None, exact: bool, edge: int | None, only_quick: bool, only_safe: bool, orientation: int = 1
) -> np.ndarray:
    """The image, turned by this orientation if the file has none."""
    if is_raw(data):
        if only_quick:
            raise SlowImage
        limit = MAX_PIXELS_DECODED // 2
        return decode_raw(data, fit, limit, lambda jpeg, turn: _decode(jpeg, fit, exact, edge, False, only_safe, turn))
    if is_jpegxl(data):
        if only_quick:
            raise SlowImage
        upright = _decode_jpegxl(data)
        return upright if fit is None else fit_image(upright, fit)
    image = open_image(data)
    width, height = image.size
    shrink = 1 if exact else _jpeg_shrink(image, fit.size if fit else None, edge)
    if width * height > _pixel_limit(image, shrink):
        raise TooLarge(f"too many pixels ({width}×{height})")
    if image.format == "TIFF":
        refuse_large_tiles(image)
    scanned = scanned_pixels(data, width * height) if image.format in ("JPEG", "MPO") else 0
    if only_quick and not is_quick(image, scanned):
        raise SlowImage
    is_whole = image.format != "PNG" or read_png_chunks(image, data)
    pixels = _decode_opencv(data, shrink, _maxval(image)) if is_whole and _opencv_is_right(image) else None
    if pixels is None:
        pixels = _decode_pillow(image, shrink, only_safe)
    pixels = turn_upright(pixels, orientation_of(image, orientation))
    if fit is None:
        return pixels
    turned = (pixels.shape[0] > pixels.shape[1]) != (height > width)
    original = (height, width) if turned else (width, height)
    return fit_image(pixels, fit, original)


def decode_pillow(image: Image) -> np.ndarray:
    """Return a Pillow image upright as uint8[height, width, 3] RGB, without changing the image itself.

    Raises:
        UnreadableImage: with the reason.
    """
    width, height = image.size
    if width * height > MAX_PIXELS_DECODED:
        raise TooLarge(f"too many pixels ({width}×{height})")
    try:
        loaded = image.copy()
    except Exception as error:  # opened from a damaged or closed file
        raise UnreadableImage(f"damaged: {' '.join(str(error).split())[:160] or type(error).__name__}") from error
    return turn_upright(_decode_pillow(loaded, 1), orientation_of(loaded))


def _jpeg_shrink(image: Image, size: int | None, edge: int | None) -> int:
    """The factor, 1, 2, 4 or 8, by which libjpeg can shrink the image to no less than twice the requested size.

    Twice the size keeps the result within half a level of the full decode on average (SSIM 0.997). For viewing, the
    long side `edge` itself is enough.
    """
    side, least = (max(image.size), edge) if size is None else (min(image.size), 2 * size)
    if least is None or image.format not in ("JPEG", "MPO"):
        return 1
    return next((factor for factor in (8, 4, 2) if side >= least * factor), 1)


def _pixel_limit(image: Image, shrink: int) -> int:
    """Maximum number of pixels of an image that is decoded at 1/shrink of its size."""
    if image.format in HEAVY_FORMATS:
        return MAX_PIXELS_DECODED // 2
    if image.format in ("QOI", "DDS") or (image.format in ("BMP", "DIB") and image.tile[0][0] == "bmp_rle"):  # type: ignore[attr-defined]
        return MAX_PIXELS_SLOW
    if image.format == "WEBP" and (image.mode == "RGBA" or getattr(image, "is_animated", False)):
        return MAX_PIXELS_DECODED // 3  # libwebp takes 16 bytes per pixel
    # libjpeg holds all coefficients of a progressive JPEG at full size, even if it shrinks the image.
    return MAX_PIXELS_DECODED if image.info.get("progressive") else MAX_PIXELS_DECODED * shrink**2


def _opencv_is_right(image: Image) -> bool:
    if image.format == "TIFF" and orientation_of(image) != 1:
        return False  # OpenCV turns some of them upright itself
    return image.format in OPENCV_FORMATS and image.mode in OPENCV_MODES and not image.has_transparency_data


def _maxval(image: Image) -> int:
    """The value of white in a PGM or PPM, if OpenCV does not scale it to 255; else 0."""
    if image.format != "PPM" or isinstance(image.tile[0].args, str):  # type: ignore[attr-defined]
        return 0
    codec, _, _, (_, maxval) = image.tile[0]  # type: ignore[attr-defined]
    is_scaled = maxval == 65535 or (maxval < 256 and codec == "ppm_plain")
    return 0 if is_scaled else int(maxval)


def _decode_opencv(data: bytes, shrink: int, maxval: int) -> np.ndarray | None:
    """uint8[height, width, 3] RGB, as stored; None if OpenCV fails, which gives no reason."""
    import cv2

    # The REDUCED_COLOR flags cannot be combined with RGB; REDUCED_GRAYSCALE | COLOR_RGB is the spelling that works.
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | {1: 0, 2: 16, 4: 32, 8: 64}[shrink]
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags | (cv2.IMREAD_ANYDEPTH if maxval else 0))
    except (cv2.error, MemoryError):
        return None
    if maxval and pixels is not None:
        scaled = np.rint(np.arange(65536) * (255 / maxval)).clip(0, 255).astype(np.uint8)
        return np.asarray(scaled[pixels])
    return pixels


def _decode_pillow(image: Image, shrink: int, only_safe: bool = False) -> np.ndarray:
    """uint8[height, width, 3] RGB, as stored (a TIFF: upright, and without its orientation).

    Raises:
        UnreadableImage: Pillow fails, too, or `only_safe` excludes this format.
    """
    if only_safe and image.format in _UNSAFE_IN_PILLOW:
        raise UnreadableImage(f"damaged, or a kind of {image.format} that is not searched for: save it as PNG")
    width, height = image.size
    try:
        image.draft(None, (width // shrink, height // shrink))  # shrinks a JPEG
        if image.mode == "F":
            raise UnreadableImage("floating-point pixels are not supported")
        image.load()
        has_16_bits = image.mode.startswith("I;16") or (image.format == "PPM" and image.mode == "I")
        return _grey_of_16_bits(image) if has_16_bits else _over_white(image)
    except (MemoryError, UnreadableImage):
        raise
    except Exception as error:  # Pillow's plugins raise nearly anything on damaged data
        if "out of memory" in str(error):
            raise MemoryError from error
        raise UnreadableImage(f"damaged: {' '.join(str(error).split())[:160] or type(error).__name__}") from error


def _decode_jpegxl(data: bytes) -> np.ndarray:
    try:
        return _over_white(read_jpegxl(data, MAX_PIXELS_DECODED // 2))
    except UnreadableImage as error:
        if _has_memory():
            raise
        raise MemoryError from error  # libjxl does not say that memory is short


def _over_white(image: Image) -> np.ndarray:
    """RGB with transparency over white, made in strips: four copies of a 128-megapixel image would take 3 GB."""
    from PIL import Image

    width, height = image.size
    rows = max(1, STRIP_PIXELS // width)
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        if strip.has_transparency_data:
            strip = strip.convert("RGBA")
            strip = Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip)
        pixels[top : top + rows] = np.asarray(strip.convert("RGB"))
    return pixels


def _grey_of_16_bits(image: Image) -> np.ndarray:
    """RGB from the high byte. Pillow's own conversion clips at 255, which makes nearly everything white."""
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    grey[values == image.info.get("transparency", -1)] = 255
    return np.repeat(grey[..., None], 3, axis=-1)


def _has_memory() -> bool:
    try:
        return np.empty(MEMORY_FOR_ONE_IMAGE, np.uint8).size > 0
    except MemoryError:
        return False
