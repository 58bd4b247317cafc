"""Open an image with Pillow without decoding it, or raise an error that says why a file is not an image."""

from __future__ import annotations

import io
import os
import re
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING

from ..errors import TooLarge, UnreadableImage
from .cost import refuse_costly
from .jpeg import open_jpeg

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS_STORED = 256_000_000  # that a header may claim
MAX_PIXELS_ICON = 2048 * 2048
# Formats that OpenCV decodes as exactly as Pillow, and faster.
OPENCV_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "TIFF", "PPM")
# Formats whose decoders take up to 20 bytes per pixel and many seconds.
HEAVY_FORMATS = ("JPEG2000", "AVIF", "HEIF")
# Pillow decodes some of these in Python, in up to 3 s per megapixel. TGA comes last: it may start with nearly anything.
RARE_FORMATS = ("BMP", "DIB", "PSD", "PCX", "SGI", "QOI", "ICO", "ICNS", "XBM", "DDS", "TGA")

_TEXT = rb"(\xef\xbb\xbf)?[ \t\r\n]*"  # a byte-order mark and spaces
_UNSUPPORTED = "this format is not supported"
# A pattern for the first bytes of a file that Pillow does not open → the reason to give. The first match counts.
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


def open_image(data: bytes) -> Image:
    """Open the image without decoding it, and refuse one that claims too many pixels.

    Raises:
        UnreadableImage: with the reason.
    """
    from PIL import Image

    if not data:
        raise UnreadableImage("the file is empty")
    formats = _prepare_libraries()
    try:
        if data.startswith(b"\xff\xd8\xff"):
            # Image.open's pixel limit would refuse a 200-megapixel phone image, which shrinks well.
            image: Image.Image = open_jpeg(data)
        else:
            _check_icon(data)  # opening an ICO decodes it
            refuse_costly(data)
            image = Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError:
        raise TooLarge("too many pixels") from None
    except (MemoryError, UnreadableImage):
        raise
    except Exception as error:
        reason = next(reason for start, reason in _REASONS.items() if re.match(start, data[:512], re.DOTALL))
        raise UnreadableImage(reason) from error
    width, height = image.size
    if width * height > MAX_PIXELS_STORED:
        raise TooLarge(f"too many pixels ({width}×{height})")
    return image


def limit_opencv(threads: int) -> None:
    """Set how many threads OpenCV uses in this process."""
    _prepare_libraries()
    import cv2

    cv2.setNumThreads(threads)


@lru_cache(maxsize=1)
def _prepare_libraries() -> tuple[str, ...]:
    """Silences warnings, once per process, and returns the formats this Pillow can open (HEIC with pillow-heif)."""
    from PIL import Image

    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # on damaged metadata; they name no file
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
    """Refuse an icon that holds a huge image, whose size the icon's own header does not tell."""
    if data.startswith((b"\0\0\1\0", b"icns")):
        for sides in _IN_ICON.findall(data):
            width, height = (int.from_bytes(side, "big") for side in sides)
            if width * height > MAX_PIXELS_ICON:
                raise TooLarge(f"too many pixels ({width}×{height})")
