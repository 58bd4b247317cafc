"""Read JPEG XL with imagecodecs (libjxl)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..errors import TooLarge, UnreadableImage

if TYPE_CHECKING:
    from PIL.Image import Image

_CODESTREAM, _CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
_RATIOS = ((1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height, in the header's order


def is_jpegxl(data: bytes) -> bool:
    """Whether a file is a JPEG XL, with or without the container."""
    return data.startswith((_CODESTREAM, _CONTAINER))


def read_jpegxl(data: bytes, max_pixels: int) -> Image:
    """Decode the first image of a JPEG XL, upright, to 8 bits per channel.

    Raises:
        UnreadableImage: with the reason.
    """
    from PIL import Image

    try:
        from imagecodecs import JpegxlError, jpegxl_decode
    except ImportError:
        raise UnreadableImage("JPEG XL needs one more package (pip install imagecodecs)") from None
    width, height = claimed_size(data)
    if width * height > max_pixels:
        raise TooLarge(f"too many pixels ({width}×{height})")
    try:
        pixels = np.asarray(jpegxl_decode(data, index=0, numthreads=1))
        if pixels.dtype.kind == "f":
            pixels = np.rint(np.nan_to_num(pixels).clip(0, 1) * 255)
        elif pixels.dtype == np.uint16:
            pixels = pixels >> 8
        return Image.fromarray(pixels.astype(np.uint8))
    except (JpegxlError, ValueError, IndexError, TypeError) as error:  # TypeError: more than four channels
        raise UnreadableImage(f"a JPEG XL that is damaged or of a kind that is not supported: {error}") from error


def claimed_size(data: bytes) -> tuple[int, int]:
    """Width and height in the header (ISO/IEC 18181-1, SizeHeader), before the image is turned."""
    return _read_size_header(data)[:2]


def upright_size(data: bytes) -> tuple[int, int]:
    """Width and height of the image as it is shown (the same standard, ImageMetadata)."""
    width, height, orientation = _read_size_header(data)
    return (height, width) if orientation >= 5 else (width, height)


def _read_size_header(data: bytes) -> tuple[int, int, int]:
    """Width, height and orientation."""
    start = 0 if data.startswith(_CODESTREAM) else _find_codestream(data)
    bits = int.from_bytes(data[start + 2 : start + 16], "little")

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    is_small = take(1)

    def side() -> int:
        return (take(5) + 1) * 8 if is_small else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    ratio = take(3)
    if ratio:
        across, down = _RATIOS[ratio - 1]
    width = height * across // down if ratio else side()
    has_orientation = not take(1) and take(1)  # all_default, then extra_fields
    return width, height, take(3) + 1 if has_orientation else 1


def read_boxes(data: bytes) -> dict[bytes, bytes]:
    """The boxes of a container by their type, the first of each type; none without a container."""
    found: dict[bytes, bytes] = {}
    if data.startswith(_CONTAINER):
        for kind, start, end in _boxes(data):
            found.setdefault(kind, data[start:end])
    return found


def _find_codestream(data: bytes) -> int:
    """Where the codestream begins in a container."""
    for kind, start, _ in _boxes(data):
        if kind in (b"jxlc", b"jxlp"):
            return start + 4 * (kind == b"jxlp")
    raise UnreadableImage("a JPEG XL that is damaged: there is no image in it")


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type of each box, and start and end of its content."""
    at = 0
    while at + 8 <= len(data):
        length, kind, header = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if length == 1:
            length, header = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        end = at + length if length else len(data)  # 0: up to the end of the file
        yield kind, at + header, end
        if end < at + header:
            break
        at = end
