"""Read the header of a JPEG: open it with Pillow but without its EXIF, or read its segments.

60 KB of EXIF can claim gigabytes, which Pillow copies (see `exif.py`).
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.JpegImagePlugin import JpegImageFile


# Markers (ISO/IEC 10918-1, table B.1): frames of Huffman codes, start of scan, APP1 and APP13.
_FRAMES, _SCAN, _APP1, _APP13 = (0xC0, 0xC1, 0xC2), 0xDA, 0xE1, 0xED
_NO_LENGTH = (0x00, 0x01, *range(0xD0, 0xDA), 0xFF)
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"


class Segments(NamedTuple):
    """The data before a JPEG's pixels: the size of the stored image, and EXIF and XMP as Pillow gives them."""

    width: int
    height: int
    exif: bytes
    xmp: bytes


def read_segments(data: bytes) -> Segments | None:
    """Read the segments of an ordinary JPEG, in a quarter of the time of `open_jpeg`.

    Return None for a JPEG that needs Pillow because it has IPTC, or is rare or damaged.
    """
    at, size, exif, xmp = 2, (0, 0), b"", b""
    while at + 10 <= len(data) and data[at] == 0xFF:
        kind = data[at + 1]
        if kind == _SCAN:
            return Segments(*size, exif, xmp) if all(size) else None
        if kind == _APP13 or kind in _NO_LENGTH:
            return None
        end = at + 2 + (data[at + 2] << 8 | data[at + 3])
        if kind == _APP1:
            part = data[at + 4 : end]
            if part.startswith(_EXIF):
                exif = exif + part[len(_EXIF) :] if exif else part
            elif part.startswith(_XMP):
                xmp = part[len(_XMP) :]
        elif kind in _FRAMES:
            if data[at + 4] != 8 or data[at + 9] not in (1, 3, 4):  # bits per level, number of channels
                return None
            size = (data[at + 7] << 8 | data[at + 8], data[at + 5] << 8 | data[at + 6])
        at = end
    return None


def open_jpeg(data: bytes) -> Image:
    """Open a JPEG of any size, without decoding it. Raises nearly any exception if the file is damaged."""
    return _jpeg_file()(io.BytesIO(data))


@lru_cache(maxsize=1)
def _jpeg_file() -> type[JpegImageFile]:
    from PIL.JpegImagePlugin import JpegImageFile

    class JpegFile(JpegImageFile):
        def _read_dpi_from_exif(self) -> None:
            pass

    return JpegFile
