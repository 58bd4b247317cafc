"""A camera's RAW file, made here: an uncompressed Bayer DNG, with or without a preview."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from PIL import Image

_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _SRATIONAL = 1, 2, 3, 4, 5, 10
_CODES = {_BYTE: "B", _ASCII: "s", _SHORT: "H", _LONG: "I", _RATIONAL: "I", _SRATIONAL: "i"}
# The sensor has sRGB's primaries, so it sees the colours of a screen.
_XYZ_TO_SRGB = (32406, -15372, -4986, -9689, 18758, 415, 557, -2040, 10570)


def dng(image: Image.Image, orientation: int = 1, preview: bytes = b"", order: str = "<") -> bytes:
    """Return the image as a 16-bit RGGB DNG. A preview is a JPEG and comes first, as in files of cameras.

    Args:
        image: RGB, of even sides, as stored (not turned).
        orientation: EXIF's, of the image and of the preview.
        order: "<" little-endian, ">" big-endian.
    """
    raw = _mosaic(image).astype(f"{order}u2").tobytes()
    sensor: dict[int, tuple[int, Any]] = {
        254: (_LONG, [0]), 256: (_LONG, [image.width]), 257: (_LONG, [image.height]), 258: (_SHORT, [16]),
        259: (_SHORT, [1]), 262: (_SHORT, [32803]), 273: (_LONG, raw), 277: (_SHORT, [1]),
        278: (_LONG, [image.height]), 279: (_LONG, [len(raw)]), 33421: (_SHORT, [2, 2]), 33422: (_BYTE, [0, 1, 1, 2]),
        50717: (_LONG, [65535]),
    }  # fmt: skip
    camera: dict[int, tuple[int, Any]] = {
        271: (_ASCII, [b"Test\0"]), 272: (_ASCII, [b"Camera\0"]), 274: (_SHORT, [orientation]),
        50706: (_BYTE, [1, 4, 0, 0]), 50708: (_ASCII, [b"Test Camera\0"]), 50728: (_RATIONAL, [1, 1] * 3),
        50721: (_SRATIONAL, [part for value in _XYZ_TO_SRGB for part in (value, 10000)]), 50778: (_SHORT, [21]),
    }  # fmt: skip
    mark = b"II*\0" if order == "<" else b"MM\0*"
    if not preview:
        return mark + struct.pack(f"{order}I", 8) + _directory({**sensor, **camera}, 8, order)
    first: dict[int, tuple[int, Any]] = {
        254: (_LONG, [1]), 259: (_SHORT, [7]), 262: (_SHORT, [6]), 273: (_LONG, preview), 277: (_SHORT, [3]),
        279: (_LONG, [len(preview)]), 330: (_LONG, [0]), **camera,
    }  # fmt: skip
    at = 8 + len(_directory(first, 8, order))
    first[330] = (_LONG, [at])
    return mark + struct.pack(f"{order}I", 8) + _directory(first, 8, order) + _directory(sensor, at, order)


def _mosaic(image: Image.Image) -> np.ndarray:
    levels = np.asarray(image.convert("RGB")) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4) * 65535
    mosaic = linear[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = linear[::2, ::2, 0], linear[1::2, 1::2, 2]
    return np.asarray(mosaic.round())


def _directory(tags: dict[int, tuple[int, Any]], at: int, order: str) -> bytes:
    """Return a TIFF directory at an offset, followed by the data it points to. Tag 273 holds the bytes of the strip."""
    entries, behind = [], b""
    start = at + 2 + 12 * len(tags) + 4
    for tag, (kind, values) in sorted(tags.items()):
        if isinstance(values, bytes):
            data, count, is_strip = values, 1, True
        elif kind == _ASCII:
            data, count, is_strip = values[0], len(values[0]), False
        else:
            data = struct.pack(f"{order}{len(values)}{_CODES[kind]}", *values)
            count, is_strip = len(values) // (2 if kind in (_RATIONAL, _SRATIONAL) else 1), False
        if is_strip or len(data) > 4:
            offset = struct.pack(f"{order}I", start + len(behind))
            behind += data + bytes(len(data) % 2)
            data = offset
        entries.append(struct.pack(f"{order}HHI", tag, kind, count) + data.ljust(4, b"\0"))
    return struct.pack(f"{order}H", len(tags)) + b"".join(entries) + bytes(4) + behind
