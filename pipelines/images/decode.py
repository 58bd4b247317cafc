"""From the bytes of an image to RGB pixels by OpenCV, or to a sentence that says why not.

No damaged or hostile file may crash, hang or fill the memory: the header is checked before anything is decoded, a large
JPEG is shrunk while it is decoded, and Pillow decodes what OpenCV gets wrong (transparency, AVIF, LAB).
"""

from __future__ import annotations

import io
import os
import re
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..errors import OutOfMemory, UnreadableImage
from .cost import refuse_costly, refuse_many_scans
from .jpegxl import is_jpegxl, read_jpegxl
from .orientation import orientation_of, read_png_chunks, turn_upright
from .preprocess import resize_and_crop
from .raw import decode_raw, is_raw

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS_STORED = 256_000_000  # that a header may claim
MAX_PIXELS_DECODED = 128_000_000  # held in memory, 3 bytes each
STRIP_PIXELS = 4_000_000
# The formats and modes that OpenCV decodes as exactly as Pillow, and faster.
OPENCV_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "TIFF", "PPM")
OPENCV_MODES = frozenset({"1", "L", "P", "RGB", "CMYK", "YCbCr", "I;16", "I;16B", "I"})
# Their decoders take up to 20 bytes a pixel and many seconds. Half as many pixels still fit a phone's 48 megapixels.
HEAVY_FORMATS = ("JPEG2000", "AVIF", "HEIF")
# Pillow decodes some of these in Python, up to 3 s a megapixel. TGA comes last: nearly anything may be its start.
RARE_FORMATS = ("BMP", "DIB", "PSD", "PCX", "SGI", "QOI", "ICO", "ICNS", "XBM", "DDS", "TGA")
MAX_PIXELS_SLOW = 4096 * 4096
MAX_PIXELS_ICON = 2048 * 2048
MEMORY_FOR_ONE_IMAGE = 2**30  # bytes, of MAX_PIXELS_DECODED with transparency

_TEXT = rb"(\xef\xbb\xbf)?[ \t\r\n]*"  # a byte-order mark and spaces
_UNSUPPORTED = "this format is not supported"
# A pattern for the first bytes of a file that Pillow does not open → the reason to give. The first that fits counts.
_REASONS = {
    _TEXT + rb"<": "markup (HTML, SVG or XML), not an image",
    _TEXT + rb"%PDF": "a PDF, not an image",
    _TEXT + rb"%!PS": "PostScript, not an image",
    _TEXT + rb"version https://git-lfs": "a Git LFS pointer, not the image itself: git lfs pull",
    rb"PK\x03\x04": "a ZIP archive or an office document, not an image",
    rb"\x1f\x8b": "a gzip archive, not an image",
    rb"\x1a\x45\xdf\xa3": "a video, not an image",
    rb"II\xbc": f"JPEG XR: {_UNSUPPORTED}",
    rb"8BPS": "a Photoshop document of a kind that is not supported (16 bits, PSB), or damaged at its start",
    rb"\0\0\x01\0": "an icon (ICO) that is damaged",
    rb"icns": "an icon (ICNS) that is damaged",
    rb"qoif": "a QOI damaged at its start",
    rb"DDS ": "a texture (DDS) of a kind that is not supported, or damaged at its start",
    rb"#\?RADIANCE": f"Radiance HDR: {_UNSUPPORTED}",
    rb"\x76\x2f\x31\x01": f"OpenEXR: {_UNSUPPORTED}",
    rb"PF\n": "floating-point pixels are not supported",
    rb"II\*\0|MM\0\*": "a TIFF of a kind that is not supported (a camera's RAW, floating-point pixels), or damaged",
    rb"\xff\xd8": "a JPEG of a kind that is not supported (12 bits, JPEG-LS), or damaged at its start",
    rb"\x89PNG": "a PNG damaged at its start",
    rb"GIF8": "a GIF damaged at its start",
    rb"BM": "a BMP damaged at its start, or no image",
    rb"RIFF.{4}WEBP": "a WebP damaged at its start",
    rb"RIFF": "a video or sound (RIFF), not an image",
    rb".{4}ftypavi[fs]": "an AVIF damaged at its start",
    rb".{4}ftyp(hei[cxms]|hev[cx]|m[is]f1)": "HEIC needs one more package (pip install pillow-heif), or it is damaged",
    rb".{4}ftyp": "a video, not an image",
    rb"": "not an image of a known format, or damaged at its start",
}
# The images inside an icon: width and height of a PNG or of a JPEG 2000.
_IN_ICON = re.compile(rb"(?:\x89PNG\r\n\x1a\n.{4}IHDR|\xff\x4f\xff\x51.{4})(.{4})(.{4})", re.DOTALL)


def decode(data: bytes, size: int | None = None, exact: bool = False) -> np.ndarray:
    """Decodes one image, upright (EXIF), transparency over white.

    Args:
        data: the bytes of the image's file.
        size: edge of a model's square input, in pixels; the image is then resized and cropped to it.
        exact: never shrink a JPEG while it is decoded.

    Returns:
        uint8[height, width, 3] RGB, or uint8[size, size, 3].

    Raises:
        UnreadableImage: with the reason.
        OutOfMemory: the image is good as far as anybody can tell.
    """
    try:
        return _decode(data, size, exact)
    except MemoryError:
        pass  # another thread may have held the memory
    try:
        return _decode(data, size, exact)
    except MemoryError as error:
        if _has_memory():
            raise UnreadableImage("damaged: it asks for more memory than an image needs") from error
        raise OutOfMemory("there is not enough memory to decode an image: close other programs") from error


def _decode(data: bytes, size: int | None, exact: bool, orientation: int = 1) -> np.ndarray:
    """The image, turned by this orientation where the file names none."""
    if is_raw(data):
        return decode_raw(data, size, MAX_PIXELS_DECODED // 2, lambda jpeg, turn: _decode(jpeg, size, exact, turn))
    if is_jpegxl(data):
        upright = _decode_jpegxl(data)
        return upright if size is None else resize_and_crop(upright, size)
    image = _open(data)
    width, height = image.size
    shrink = 1 if exact else _jpeg_shrink(image, size)
    if width * height > _pixel_limit(image, shrink):
        raise UnreadableImage(f"too many pixels ({width}×{height})")
    if image.format in ("JPEG", "MPO"):
        refuse_many_scans(data, width * height)
    is_whole = image.format != "PNG" or read_png_chunks(image, data)
    pixels = _decode_opencv(data, shrink, _maxval(image)) if is_whole and _opencv_is_right(image) else None
    if pixels is None:
        pixels = _decode_pillow(image, shrink)
    pixels = turn_upright(pixels, orientation_of(image, orientation))
    if size is None:
        return pixels
    turned = (pixels.shape[0] > pixels.shape[1]) != (height > width)
    original = (height, width) if turned else (width, height)
    return resize_and_crop(pixels, size, original)


def decode_pillow(image: Image) -> np.ndarray:
    """Returns a Pillow image upright as uint8[height, width, 3] RGB, and leaves the image itself as it is.

    Raises:
        UnreadableImage: with the reason.
    """
    width, height = image.size
    if width * height > MAX_PIXELS_DECODED:
        raise UnreadableImage(f"too many pixels ({width}×{height})")
    try:
        loaded = image.copy()
    except Exception as error:  # opened from a damaged or closed file
        raise UnreadableImage(f"damaged: {' '.join(str(error).split())[:160] or type(error).__name__}") from error
    return turn_upright(_decode_pillow(loaded, 1), orientation_of(loaded))


def _open(data: bytes) -> Image:
    """Opens the image without decoding it, and refuses one that claims too many pixels."""
    from PIL import Image, JpegImagePlugin

    if not data:
        raise UnreadableImage("the file is empty")
    formats = _prepare_libraries()
    try:
        if data.startswith(b"\xff\xd8\xff"):
            # Image.open's pixel limit would refuse a 200-megapixel phone image, which shrinks well.
            image: Image.Image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
        else:
            _check_icon(data)  # opening an ICO decodes it
            refuse_costly(data)
            image = Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError:
        raise UnreadableImage("too many pixels") from None
    except (MemoryError, UnreadableImage):
        raise
    except Exception as error:
        reason = next(reason for start, reason in _REASONS.items() if re.match(start, data[:512], re.DOTALL))
        raise UnreadableImage(reason) from error
    width, height = image.size
    if width * height > MAX_PIXELS_STORED:
        raise UnreadableImage(f"too many pixels ({width}×{height})")
    return image


def limit_opencv(threads: int) -> None:
    """Sets how many threads OpenCV uses in this process."""
    _prepare_libraries()
    import cv2

    cv2.setNumThreads(threads)


@lru_cache(maxsize=1)
def _prepare_libraries() -> tuple[str, ...]:
    """Silences warnings, once a process, and returns the formats this Pillow can open (HEIC with pillow-heif)."""
    from PIL import Image

    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # of damaged metadata; they name no file
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # MAX_PIXELS_STORED limits it
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # read when cv2 is first imported
    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        pillow_heif.register_heif_opener()
    Image.init()
    # No other format may be opened: for EPS, Pillow starts Ghostscript.
    return tuple(name for name in OPENCV_FORMATS + HEAVY_FORMATS + RARE_FORMATS if name in Image.OPEN)


def _check_icon(data: bytes) -> None:
    """Refuses an icon that holds a huge image: its own header does not tell."""
    if data.startswith((b"\0\0\1\0", b"icns")):
        for sides in _IN_ICON.findall(data):
            width, height = (int.from_bytes(side, "big") for side in sides)
            if width * height > MAX_PIXELS_ICON:
                raise UnreadableImage(f"too many pixels ({width}×{height})")


def _jpeg_shrink(image: Image, size: int | None) -> int:
    """1, 2, 4 or 8: the factor by which libjpeg can shrink the image to no less than twice the requested size.

    Twice the size keeps the result within half a level of the full decode on average (SSIM 0.997).
    """
    if size is None or image.format not in ("JPEG", "MPO"):
        return 1
    return next((factor for factor in (8, 4, 2) if min(image.size) >= 2 * size * factor), 1)


def _pixel_limit(image: Image, shrink: int) -> int:
    """The most pixels that an image may have to be decoded at 1/shrink of its size."""
    if image.format in HEAVY_FORMATS:
        return MAX_PIXELS_DECODED // 2
    if image.format in ("QOI", "DDS") or (image.format in ("BMP", "DIB") and image.tile[0][0] == "bmp_rle"):  # type: ignore[attr-defined]
        return MAX_PIXELS_SLOW
    if image.format == "WEBP" and (image.mode == "RGBA" or getattr(image, "is_animated", False)):
        return MAX_PIXELS_DECODED // 3  # libwebp takes 16 bytes a pixel
    # libjpeg holds all coefficients of a progressive JPEG in full size, even if it shrinks the image.
    return MAX_PIXELS_DECODED if image.info.get("progressive") else MAX_PIXELS_DECODED * shrink**2


def _opencv_is_right(image: Image) -> bool:
    if image.format == "TIFF" and orientation_of(image) != 1:
        return False  # OpenCV turns some of them itself
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


def _decode_pillow(image: Image, shrink: int) -> np.ndarray:
    """uint8[height, width, 3] RGB, as stored (a TIFF: upright, and without its orientation).

    Raises:
        UnreadableImage: Pillow fails, too.
    """
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
        raise MemoryError from error  # libjxl does not tell


def _over_white(image: Image) -> np.ndarray:
    """RGB, transparency laid over white, strip by strip: four copies of a 128-megapixel image would take 3 GB."""
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
