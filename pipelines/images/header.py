"""Read the header of an image's file: the size of the image, and its metadata as stored."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .formats import MAX_PIXELS_STORED, open_image
from .jpeg import read_segments
from .jpegxl import is_jpegxl, read_boxes, upright_size
from .orientation import orientation_in, orientation_of, read_png_chunks
from .raw import is_raw, raw_size

if TYPE_CHECKING:
    from PIL.Image import Image

# Boxes of a Canon CR3: the main directory, the EXIF directory and the GPS directory.
_CR3_BOXES = (b"CMT1", b"CMT2", b"CMT4")
_CR3_SEARCHED = 1 << 20  # bytes in which to look for them


@dataclass
class Header:
    """The size of the upright image, in pixels, and its metadata.

    exif: data in the layout of a TIFF, in one or several parts. gps: another part, if the file stores GPS separately.
    iptc: (record, dataset) → one value or several.
    """

    width: int
    height: int
    exif: tuple[bytes, ...] = ()
    gps: bytes = b""
    xmp: bytes = b""
    iptc: Mapping[tuple[int, int], bytes | list[bytes]] = field(default_factory=dict)


def read_header(data: bytes) -> Header:
    """Return the header of an image's file, from its bytes and without decoding it.

    Raises:
        UnreadableImage: with the reason.
    """
    if is_raw(data):
        return _read_raw(data)
    if is_jpegxl(data):
        boxes = read_boxes(data)
        return Header(*upright_size(data), (boxes.get(b"Exif", b"")[4:],), xmp=boxes.get(b"xml ", b""))
    segments = read_segments(data) if data.startswith(b"\xff\xd8\xff") else None
    if segments and segments.width * segments.height <= MAX_PIXELS_STORED:
        width, height, exif, xmp = segments
        return Header(*((height, width) if orientation_in(exif, xmp) >= 5 else (width, height)), (exif,), xmp=xmp)
    return _read_image(open_image(data), data)


def _read_image(image: Image, data: bytes) -> Header:
    from PIL.IptcImagePlugin import getiptcinfo

    if image.format == "PNG":
        read_png_chunks(image, data)
    turned = image.format != "TIFF" and orientation_of(image) >= 5  # Pillow gives the upright size of a TIFF
    width, height = image.size[::-1] if turned else image.size
    exif = data if image.format == "TIFF" else image.info.get("exif", b"")
    iptc = None
    if image.format == "TIFF" or "photoshop" in image.info:
        try:
            iptc = getiptcinfo(image)  # type: ignore[arg-type]
        except MemoryError:
            raise
        except Exception:  # Pillow raises nearly anything on damaged metadata
            iptc = None
    return Header(width, height, (exif,), xmp=image.info.get("xmp", b""), iptc=iptc or {})


def _read_raw(data: bytes) -> Header:
    exif, gps = raw_directories(data)
    return Header(*raw_size(data), exif, gps, _xmp_between_marks(data))


def raw_directories(data: bytes) -> tuple[tuple[bytes, ...], bytes]:
    """Return the EXIF of a RAW, and its GPS if that is stored separately."""
    if data.startswith(b"FUJIFILM"):  # stored in the preview
        offset, length = struct.unpack_from(">II", data, 84) if len(data) >= 92 else (0, 0)
        preview = data[offset : offset + length]
        return ((open_image(preview).info.get("exif", b"") if preview else b"",), b"")
    if data[4:12] == b"ftypcrx ":  # stored in separate boxes
        places = [data.find(name, 0, _CR3_SEARCHED) for name in _CR3_BOXES]
        *exif, gps = (data[place + 4 :] if place >= 0 else b"" for place in places)
        return tuple(exif), gps
    return (data,), b""


def _xmp_between_marks(data: bytes) -> bytes:
    start = data.find(b"<x:xmpmeta")
    end = data.find(b"</x:xmpmeta>", start)
    return data[start : end + 12] if 0 <= start < end else b""
