"""Estimate what an image costs to decode beyond its pixels, from its bytes and before anything is decoded.

Some formats have a number that a few bytes can raise at will: the scans of a JPEG, the tiles of a TIFF, the layers of a
JPEG 2000. A file of 200 KB with 20,000 scans of 121 megapixels keeps libjpeg busy for five minutes.
"""

from __future__ import annotations

import math
import re
import struct
from typing import TYPE_CHECKING

from ..errors import TooLarge, UnreadableImage

if TYPE_CHECKING:
    from PIL.Image import Image

# A scan passes over all blocks of the image. Cameras and encoders write one to twelve; 20 scans of the largest image
# take about as long as decoding it twice.
MAX_SCANNED_PIXELS = 20 * 128_000_000
MAX_SCANS = 1_000
QUICK_SCANNED_PIXELS = 2 * 128_000_000  # two to three seconds
# Numbers in one list, such as that of strips or tiles. Pillow makes each a Python number when it opens the file.
MAX_TIFF_VALUES = 500_000
MAX_TIFF_DIRECTORIES = 1_000
# Each layer has a packet for each tile, resolution and component. Encoders write one to fifty layers.
MAX_JPEG2000_PACKETS = 1_000_000
# How many times the values may claim all of the file's bytes. Pillow copies the bytes for each tag.
MAX_TIFF_CLAIM = 4
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
# All tiles together. Tiles at the right and at the bottom may reach far beyond the image.
MAX_TILED_PIXELS = 4 * 128_000_000
_PLAIN_TIFF = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits")
_SUBDIRECTORIES = (0x8769, 0x8825, 0xA005)  # EXIF, GPS, interoperability
_BYTES = (1, 2, 6, 7)  # TIFF types that stay bytes in Python
_SIZ = re.compile(rb"\xff\x4f\xff\x51.{4}(.{32})(.{2})", re.DOTALL)
_COD = re.compile(rb"\xff\x52.{4}(.{2})(?:.)(.)", re.DOTALL)


def refuse_costly(data: bytes) -> None:
    """Refuse a file that would take far longer to decode than its number of pixels suggests.

    Raises:
        UnreadableImage: with the number that is too high.
    """
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        _check_tiff(data)
    elif data.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")):
        _check_jpeg2000(data)


def scanned_pixels(data: bytes, pixels: int) -> int:
    """Return the number of pixels that all scans of a JPEG pass over. The data of a scan never holds 0xff 0xda.

    Raises:
        UnreadableImage: there are too many, with the number of scans.
    """
    scans = data.count(b"\xff\xda")
    if scans > MAX_SCANS or scans * pixels > max(MAX_SCANNED_PIXELS, 3 * pixels):
        raise UnreadableImage(f"too many scans ({scans:,}) for {pixels:,} pixels")
    return scans * pixels


def refuse_large_tiles(image: Image) -> None:
    """Refuse an opened TIFF whose tiles reach far beyond the image: 480 KB of such tiles take minutes to decode.

    Raises:
        TooLarge: with the number of their pixels.
    """
    tags = image.tag_v2  # type: ignore[attr-defined]
    sides = zip(image.size, (tags.get(_TILE_WIDTH, 0), tags.get(_TILE_HEIGHT, 0)), strict=True)
    pixels = math.prod(-(-side // tile) * tile if isinstance(tile, int) and tile else side for side, tile in sides)
    if pixels > MAX_TILED_PIXELS:
        raise TooLarge(f"too many pixels in its tiles ({pixels:,})")


def is_quick(image: Image, scanned: int) -> bool:
    """Return whether an opened image decodes in a few seconds at most, since the time depends only on its pixels.

    Args:
        scanned: for a JPEG, see `scanned_pixels`.
    """
    if image.format in ("JPEG", "MPO"):
        return scanned <= QUICK_SCANNED_PIXELS
    if image.format == "TIFF":
        return image.info.get("compression") in _PLAIN_TIFF and _TILE_WIDTH not in image.tag_v2  # type: ignore[attr-defined]
    if image.format in ("BMP", "DIB", "PPM"):
        return bool(image.tile[0][0] == "raw")  # type: ignore[attr-defined]
    return image.format in ("PNG", "WEBP", "GIF")


def _check_tiff(data: bytes) -> None:
    """Follow the directories of a TIFF (TIFF 6.0, section 2) or BigTIFF, including those of EXIF and GPS."""
    order = "<" if data.startswith(b"II") else ">"
    is_big = b"+" in data[2:4]
    number, entry = struct.Struct(order + "IQ"[is_big]), struct.Struct(order + ("HHI", "HHQ")[is_big])
    entries, size = struct.Struct(order + "HQ"[is_big]), (12, 20)[is_big]
    seen: set[int] = set()
    waiting = [*number.unpack_from(data, (4, 8)[is_big])] if len(data) >= 16 else []
    claimed = 0
    while waiting:
        position = waiting.pop()
        if not 0 < position <= len(data) - entries.size or position in seen:
            continue
        seen.add(position)
        if len(seen) > MAX_TIFF_DIRECTORIES:
            raise UnreadableImage(f"too many directories (over {MAX_TIFF_DIRECTORIES:,})")
        start = position + entries.size
        end = start + size * entries.unpack_from(data, position)[0]
        for at in range(start, min(end, len(data) - size + 1), size):
            tag, kind, count = entry.unpack_from(data, at)
            if kind not in _BYTES and MAX_TIFF_VALUES < count <= len(data):  # a larger count is damage, found later
                raise UnreadableImage(f"too many strips, tiles or other values ({count:,} in tag {tag})")
            claimed += min(count, len(data))
            if tag in _SUBDIRECTORIES:
                waiting += number.unpack_from(data, at + entry.size)
        if claimed > MAX_TIFF_CLAIM * len(data):
            raise UnreadableImage("too many values: its directories claim the same bytes again and again")
        waiting += number.unpack_from(data, end) if end + number.size <= len(data) else []


def _check_jpeg2000(data: bytes) -> None:
    size, coding = _SIZ.search(data), _COD.search(data)
    if not size or not coding:
        return
    right, bottom, _, _, tile_width, tile_height, tile_left, tile_top = struct.unpack(">8I", size[1])
    layers, resolutions = struct.unpack(">H", coding[1])[0], coding[2][0] + 1
    columns = -(-(right - tile_left) // max(1, tile_width))
    rows = -(-(bottom - tile_top) // max(1, tile_height))
    components = struct.unpack(">H", size[2])[0]
    packets = layers * columns * rows * components * resolutions
    if packets > MAX_JPEG2000_PACKETS:
        raise UnreadableImage(f"too many packets ({packets:,}: layers, tiles, components)")
