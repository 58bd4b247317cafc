"""From a file or its bytes to RGB pixels, by OpenCV, or to a sentence that says why not.

The rules are those that kept every hostile file tried from crashing, hanging or eating the memory: bytes are read by
`reading` (OpenCV's own reader dies of odd names and waits for ever on a FIFO), the header is checked before anything is
decoded, a large JPEG is shrunk while it is decoded, and what OpenCV reads wrongly (transparency, AVIF, LAB) goes to
Pillow.
"""

from __future__ import annotations

import io
import os
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import UnreadableImage
from ..fetch.read import read_file
from .formats import describe
from .preprocess import resize_and_crop

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS_STORED = 256_000_000  # what a header may claim
MAX_PIXELS_DECODED = 128_000_000  # what may be held in memory, 3 bytes each
STRIP_PIXELS = 4_000_000
# Their decoders take up to 20 bytes a pixel and many seconds: half as many, room for a phone's 48 megapixels.
HEAVY_FORMATS = frozenset({"JPEG2000", "AVIF", "HEIF"})

# Formats Pillow may open. Never EPS: that starts Ghostscript.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "HEIF")
# What OpenCV reads as well as Pillow, and faster; the rest of the modes it gets wrong.
OPENCV_FORMATS = frozenset({"JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"})
OPENCV_MODES = frozenset({"1", "L", "P", "RGB", "CMYK", "YCbCr", "I;16", "I;16B", "I"})


class _Header(NamedTuple):
    image: Image
    width: int
    height: int


def decode(
    source: str | os.PathLike[str] | bytes, size: int | None = None, allow_private: bool = False, exact: bool = False
) -> np.ndarray:
    """Decodes one image, upright (EXIF), transparency over white.

    Args:
        source: a path, a URL, or the file's bytes.
        size: edge of a model's square input; the image is then resized and cropped to it.
        allow_private: a URL may lead to a private address.
        exact: never shrink a JPEG while it is decoded.

    Returns:
        uint8[height, width, 3] RGB, or uint8[size, size, 3].

    Raises:
        UnreadableImage: with the reason.
    """
    data = source if isinstance(source, bytes) else read_file(source, allow_private)
    header = _read_header(data)
    shrink = 1 if exact else _jpeg_shrink(header, size)
    if header.width * header.height > _pixel_limit(header.image, shrink):
        raise UnreadableImage(f"too many pixels ({header.width}×{header.height})")
    pixels = _decode_opencv(data, shrink) if _opencv_is_right(header.image) and _chunks_fit(data) else None
    if pixels is None:
        pixels = _decode_pillow(header, shrink)
    if size is None:
        return pixels
    turned = (pixels.shape[0] > pixels.shape[1]) != (header.height > header.width)
    original = (header.height, header.width) if turned else (header.width, header.height)
    return resize_and_crop(pixels, size, original)


def _read_header(data: bytes) -> _Header:
    """Opens the image without decoding it, and refuses what claims too much."""
    from PIL import Image, JpegImagePlugin

    if not data:
        raise UnreadableImage("the file is empty")
    formats = _prepare_libraries()
    try:
        if data.startswith(b"\xff\xd8\xff"):
            # Not by Image.open: its pixel limit would refuse a 200-megapixel phone image that shrinks well.
            image: Image.Image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
        else:
            image = Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError:
        raise UnreadableImage("too many pixels") from None
    except Exception as error:
        raise UnreadableImage(describe(data)) from error
    width, height = image.size
    if width * height > MAX_PIXELS_STORED:
        raise UnreadableImage(f"too many pixels ({width}×{height})")
    return _Header(image, width, height)


@lru_cache(maxsize=1)
def _prepare_libraries() -> tuple[str, ...]:
    """Once a process: no chatter on stderr, and the formats this Pillow can open (HEIC with pillow-heif)."""
    from PIL import Image

    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # damaged metadata, no file named
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # the limit here is our own
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # read when cv2 is first imported
    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        pillow_heif.register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _jpeg_shrink(header: _Header, size: int | None) -> int:
    """1, 2, 4 or 8: how much smaller libjpeg may decode while twice the wanted size is left.

    Twice keeps the result within half a level of the full decode on average (SSIM 0.997).
    """
    if size is None or header.image.format not in ("JPEG", "MPO"):
        return 1
    short = min(header.width, header.height)
    return next((factor for factor in (8, 4, 2) if short >= 2 * size * factor), 1)


def _pixel_limit(image: Image, shrink: int) -> int:
    """How large an image may be that is decoded at 1/shrink of its size."""
    if image.format in HEAVY_FORMATS:
        return MAX_PIXELS_DECODED // 2
    # Of a progressive JPEG libjpeg holds all coefficients in full size, however small it decodes.
    return MAX_PIXELS_DECODED if image.info.get("progressive") else MAX_PIXELS_DECODED * shrink**2


def _opencv_is_right(image: Image) -> bool:
    transparent = image.has_transparency_data
    return image.format in OPENCV_FORMATS and image.mode in OPENCV_MODES and not transparent


def _chunks_fit(data: bytes) -> bool:
    """False for a PNG with a chunk that claims to reach beyond the file: OpenCV would allocate the 4 GB it claims."""
    if not data.startswith(b"\x89PNG"):
        return True
    at = 8
    while at + 8 <= len(data) and data[at + 4 : at + 8] != b"IEND":
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return at + 8 <= len(data)


def _decode_opencv(data: bytes, shrink: int) -> np.ndarray | None:
    """uint8[h, w, 3] RGB, rotated by EXIF; None where OpenCV cannot, without a reason."""
    import cv2

    # The REDUCED_COLOR flags cannot be combined with RGB; REDUCED_GRAYSCALE | COLOR_RGB is the spelling that works.
    flags = cv2.IMREAD_COLOR_RGB | {1: 0, 2: 16, 4: 32, 8: 64}[shrink]
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, MemoryError):
        return None


def _decode_pillow(header: _Header, shrink: int) -> np.ndarray:
    """The rest, and the reason where Pillow cannot either."""
    from PIL import ImageOps

    image = header.image
    try:
        image.draft(None, (header.width // shrink, header.height // shrink))  # a JPEG is shrunk here, too
        if image.mode == "F":
            raise UnreadableImage("floating-point pixels are not supported")
        ImageOps.exif_transpose(image, in_place=True)
        return _grey_of_16_bits(image) if image.mode.startswith("I;16") else _over_white(image)
    except UnreadableImage:
        raise
    except Exception as error:  # Pillow's plugins raise nearly anything on damaged data
        raise UnreadableImage(f"damaged: {' '.join(str(error).split())[:160] or type(error).__name__}") from error


def _over_white(image: Image) -> np.ndarray:
    """RGB, transparency laid over white. In strips: four copies of a 128-megapixel image would take 3 GB."""
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
    """Pillow's own conversion clips at 255: nearly everything would be white."""
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    grey[values == image.info.get("transparency", -1)] = 255
    return np.repeat(grey[..., None], 3, axis=-1)
