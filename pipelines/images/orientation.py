"""Find the orientation of an image in EXIF, or else in XMP, wherever a file stores them, and turn it upright."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import numpy as np

from .exif import read_exif

if TYPE_CHECKING:
    from PIL.Image import Image

_TAG = 0x0112
_WANTED = frozenset({_TAG})
# Orientation → code for `cv2.flip` to turn the image upright; 5 to 8 are transposed first (EXIF 2.32, page 37).
_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_METADATA_CHUNKS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
_IEND = b"\0\0\0\0IEND\xaeB`\x82"


def orientation_of(image: Image, default: int = 1) -> int:
    """The orientation of an opened image, 1 (upright) to 8; the default if it is missing, illegal or damaged."""
    try:
        value = _read_value(image)
    except MemoryError:
        raise
    except Exception:  # Pillow raises nearly anything on damaged metadata
        return default
    return _checked(value, default)


def orientation_in(exif: bytes, xmp: bytes) -> int:
    """The orientation in EXIF, or else in XMP, 1 to 8; 1 if there is none."""
    return _checked(_find(exif, xmp), 1)


def _checked(value: object, default: int) -> int:
    if isinstance(value, (bytes, tuple)) and value:  # stored as the type BYTE, or as several values
        value = value[0]
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else default


def _read_value(image: Image) -> object:
    if image.format == "TIFF":  # its directories were checked, and Pillow removes the tag when it turns the image
        return image.getexif().get(_TAG)
    _decode_raw_profiles(image)
    return _find(image.info.get("exif", b""), image.info.get("xmp", b""))


def _find(exif: bytes, xmp: bytes) -> object:
    tags, _ = read_exif(exif, _WANTED, frozenset())
    if _TAG in tags:
        return tags[_TAG]
    match = _IN_XMP.search(xmp)
    return int(match[1]) if match else None


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn uint8[height, width, 3] as the orientation says."""
    import cv2

    if orientation >= 5:
        pixels = cv2.transpose(pixels)
    return cv2.flip(pixels, _FLIPS[orientation]) if orientation in _FLIPS else pixels


def read_png_chunks(image: Image, data: bytes) -> bool:
    """Add to image.info the metadata that comes after a PNG's pixels.

    Returns:
        False if a chunk claims to be longer than the file: OpenCV would allocate up to 4 GB for it.
    """
    late, at, kind, has_pixels = [], 8, b"", False
    while at + 8 <= len(data) and kind != b"IEND":
        kind, start = data[at + 4 : at + 8], at
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        has_pixels |= kind == b"IDAT"
        if has_pixels and kind in _METADATA_CHUNKS:
            late.append(data[start:at])
    if late:
        _read_late_chunks(image, data[:33] + b"".join(late) + _IEND)
    return kind == b"IEND"


def _read_late_chunks(image: Image, metadata: bytes) -> None:
    """Add to image.info the metadata of a PNG that has a header and metadata, but no pixels."""
    from PIL import PngImagePlugin

    try:
        found = PngImagePlugin.PngImageFile(io.BytesIO(metadata)).info
    except MemoryError:
        raise
    except Exception:  # damaged
        return
    image.info.update({name: value for name, value in found.items() if name not in image.info})


def _decode_raw_profiles(image: Image) -> None:
    """Decode the EXIF and XMP that older versions of ImageMagick write into a PNG."""
    for name, key in (
        ("Raw profile type exif", "exif"),
        ("Raw profile type APP1", "exif"),
        ("Raw profile type xmp", "xmp"),
    ):
        if name in image.info and key not in image.info:
            image.info[key] = bytes.fromhex("".join(image.info[name].split("\n")[3:]))
