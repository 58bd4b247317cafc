"""Read the tags and values of EXIF, in which a camera records how an image was taken, from its bytes.

Only wanted tags of limited size are read: Pillow copies what every entry claims, and a few KB of entries can claim
gigabytes. The layout is that of a TIFF (EXIF 2.32, section 4.6.2), which most RAW files share.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

# A number, a text, bytes, or a tuple of several numbers. A fraction with the denominator 0 is NaN.
Value = int | float | str | bytes | tuple[int | float, ...]
Tags = dict[int, Value]

_EXIF, _GPS = 0x8769, 0x8825  # tags that hold the offset of another directory
_TEXT, _FRACTIONS = 2, (5, 10)
# Type → bytes per value, and its format for `struct`; '' stays bytes. A fraction is two numbers.
_TYPES = {
    1: (1, ""), 2: (1, ""), 3: (2, "H"), 4: (4, "I"), 5: (8, "II"), 6: (1, "b"), 7: (1, ""), 8: (2, "h"), 9: (4, "i"),
    10: (8, "ii"), 11: (4, "f"), 12: (8, "d"), 13: (4, "I"),
}  # fmt: skip
_MAX_ENTRIES = 1000
_MAX_NUMBERS, _MAX_BYTES = 16, 65_535
_BIG_TIFF = (b"II+\0", b"MM\0+")


def read_exif(data: bytes, wanted: frozenset[int], gps: frozenset[int]) -> tuple[Tags, Tags]:
    """Return the wanted tags of the first image and its EXIF directory, and those of its GPS directory.

    Args:
        data: EXIF as stored in a file, or a TIFF or RAW. Damaged entries are left out.
    """
    if data.startswith(b"Exif\0\0"):
        data = data[6:]
    order = {b"II": "<", b"MM": ">"}.get(data[:2], "")
    if not order or len(data) < 8 or data.startswith(_BIG_TIFF):
        return {}, {}
    (start,) = struct.unpack_from(order + "I", data, 4)
    tags = dict(_entries(data, order, start, wanted | {_EXIF, _GPS}))
    exif, position = tags.pop(_EXIF, 0), tags.pop(_GPS, 0)
    return {**tags, **dict(_entries(data, order, exif, wanted))}, dict(_entries(data, order, position, gps))


def _entries(data: bytes, order: str, start: Value, wanted: frozenset[int]) -> Iterator[tuple[int, Value]]:
    """Yield the wanted entries of the directory at `start`; none if there is no directory."""
    if not isinstance(start, int) or not 8 <= start <= len(data) - 2:
        return
    (count,) = struct.unpack_from(order + "H", data, start)
    entries = data[start + 2 : start + 2 + 12 * min(count, _MAX_ENTRIES)]
    whole = memoryview(entries)[: len(entries) // 12 * 12]
    for index, (tag, kind, number, offset) in enumerate(struct.iter_unpack(order + "HHII", whole)):
        if tag not in wanted or kind not in _TYPES or not number:
            continue
        size, form = _TYPES[kind]
        if number > (_MAX_NUMBERS if form else _MAX_BYTES):
            continue
        begin = start + 10 + 12 * index if size * number <= 4 else offset
        raw = data[begin : begin + size * number]
        if len(raw) == size * number:
            yield tag, _value(raw, kind, order + form * number)


def _value(raw: bytes, kind: int, form: str) -> Value:
    if kind == _TEXT:
        return decode_text(raw)
    if not form[1:]:
        return raw
    numbers = struct.unpack(form, raw)
    if kind in _FRACTIONS:
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        numbers = tuple(above / below if below else float("nan") for above, below in pairs)
    return numbers[0] if len(numbers) == 1 else numbers


def decode_text(raw: bytes) -> str:
    """Return a text up to its first zero byte, read as UTF-8, which phones and editors write, or else as Latin-1."""
    raw = raw.split(b"\0", 1)[0]
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
