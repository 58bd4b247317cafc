"""Columns read from the header of an image's file: its size, and values from EXIF, IPTC and XMP.

If several of these hold a value, XMP and then IPTC win for texts and the rating, which editors write. EXIF wins for the
rest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from ..dates import read_moment
from ..fields import FieldType
from .exif import Tags, Value, decode_text, read_exif
from .header import Header, read_header
from .place import nearest_place
from .xmp import Properties, read_xmp

# In the order in which they are shown. `modified` is the file's modification time, which its bytes do not hold.
COLUMNS: dict[str, FieldType] = {
    "width": FieldType.INT, "height": FieldType.INT, "taken": FieldType.DATE, "taken_offset": FieldType.TEXT,
    "modified": FieldType.DATE, "camera": FieldType.TEXT, "lens": FieldType.TEXT, "rating": FieldType.INT,
    "title": FieldType.TEXT, "description": FieldType.TEXT, "keywords": FieldType.TEXT,
    "latitude": FieldType.FLOAT, "longitude": FieldType.FLOAT, "place": FieldType.TEXT,
}  # fmt: skip
MODIFIED, PLACE = "modified", "place"

# EXIF tags (EXIF 2.32, tables 4 to 15), and tags that Windows writes.
_DESCRIPTION, _MAKE, _MODEL, _RATING, _LENS = 0x010E, 0x010F, 0x0110, 0x4746, 0xA434
_TAKEN, _FRACTION, _OFFSET = 0x9003, 0x9291, 0x9011
_WINDOWS_TITLE, _WINDOWS_KEYWORDS, _WINDOWS_COMMENT = 0x9C9B, 0x9C9E, 0x9C9C
_TAGS = frozenset(
    {_DESCRIPTION, _MAKE, _MODEL, _RATING, _LENS, _TAKEN, _FRACTION, _OFFSET}
    | {_WINDOWS_TITLE, _WINDOWS_KEYWORDS, _WINDOWS_COMMENT}
)
_LATITUDE, _LONGITUDE = (1, 2), (3, 4)  # GPS tags: the letter (N, S, E or W), and degrees, minutes, seconds
_GPS_TAGS = frozenset({*_LATITUDE, *_LONGITUDE})
_IPTC_TITLE, _IPTC_KEYWORDS, _IPTC_DESCRIPTION = (2, 5), (2, 25), (2, 120)

_MAX_TEXT = 10_000  # characters
_BETWEEN_KEYWORDS = "; "
_DATE = re.compile(r"(\d{4}([:-])\d\d\2\d\d(?:[T ]\d\d:\d\d(?::\d\d)?)?)(?:\.(\d+))? ?(Z|[+-]\d\d:?\d\d)?", re.ASCII)
_ZONE = re.compile(r"([+-]\d\d):?(\d\d)")
_XMP_COORDINATE = re.compile(r"(\d+),(\d+(?:\.\d+)?)(?:,(\d+(?:\.\d+)?))?([NSEW])")


def read_metadata(data: bytes, names: Iterable[str] = COLUMNS) -> dict[str, Any]:
    """Return the columns that the bytes of an image's file hold; columns without a value are left out.

    Raises:
        UnreadableImage: the header cannot be read.
    """
    found = _read(read_header(data))
    return {name: found[name] for name in names if found.get(name) not in (None, "")}


def local_time(nanoseconds: int) -> int | None:
    """Return a time since 1970 (UTC) as this machine's local time, in milliseconds but cut to the second."""
    try:
        moment = datetime.fromtimestamp(nanoseconds // 1_000_000_000)
    except (ValueError, OverflowError, OSError):
        return None
    return (moment - datetime(1970, 1, 1)) // timedelta(milliseconds=1)


def _read(header: Header) -> dict[str, Any]:
    tags: Tags = {}
    gps: Tags = {}
    for part in header.exif:
        own, place = read_exif(part, _TAGS, _GPS_TAGS)
        tags, gps = {**own, **tags}, {**place, **gps}
    if header.gps:
        gps = read_exif(header.gps, _GPS_TAGS, frozenset())[0]
    xmp = read_xmp(header.xmp) if header.xmp else {}
    found: dict[str, Any] = {"width": header.width, "height": header.height}
    if not (tags or gps or xmp or header.iptc):
        return found
    found["taken"], found["taken_offset"] = _taken(tags, xmp)
    found |= {"camera": _camera(tags, xmp), "lens": _lens(tags, xmp), "rating": _rating(tags, xmp)}
    found |= _texts(tags, xmp, header.iptc)
    position = _position(gps, xmp)
    if position:
        found["latitude"], found["longitude"] = position
        found[PLACE] = nearest_place(*position)
    return found


def _taken(tags: Tags, xmp: Properties) -> tuple[int | None, str]:
    """The local time at which the image was taken, and its offset from UTC."""
    date, fraction, offset = (_clean(tags.get(tag)) for tag in (_TAKEN, _FRACTION, _OFFSET))
    texts = [f"{date}.{fraction}" if fraction.isdecimal() else date]
    texts += [_first(xmp, "exif:DateTimeOriginal"), _first(xmp, "photoshop:DateCreated")]
    for text in texts:
        match = _DATE.fullmatch(text)
        moment = read_moment(match[1]) if match else None
        if match and moment is not None and moment <= _latest():
            return moment + int(f"{match[3] or 0:0<3}"[:3]), _zone(match[4] or (offset if text is texts[0] else ""))
    return None, ""


def _zone(text: str) -> str:
    match = _ZONE.fullmatch(text)
    return f"{match[1]}:{match[2]}" if match else "+00:00" if text == "Z" else ""


def _latest() -> int:
    """This time tomorrow. No image was taken later, whatever its time zone."""
    return (datetime.now() - datetime(1970, 1, 1) + timedelta(days=1)) // timedelta(milliseconds=1)


def _camera(tags: Tags, xmp: Properties) -> str:
    """Make and model, with the make only once: `Canon EOS 40D`, `NIKON D70`."""
    make = _clean(tags.get(_MAKE)) or _first(xmp, "tiff:Make")
    model = _clean(tags.get(_MODEL)) or _first(xmp, "tiff:Model")
    first = make.partition(" ")[0].casefold()
    return model if first and model.casefold().startswith(first) else f"{make} {model}".strip()


def _lens(tags: Tags, xmp: Properties) -> str:
    lens = _clean(tags.get(_LENS)) or _first(xmp, "exifEX:LensModel", "aux:Lens")
    return lens if lens.strip("-") else ""


def _rating(tags: Tags, xmp: Properties) -> int | None:
    """Stars, 0 to 5, or -1 for a rejected image."""
    text = _first(xmp, "xmp:Rating")
    try:
        rating: Value | None = float(text) if text else tags.get(_RATING)
    except ValueError:
        return None
    return int(rating) if isinstance(rating, (int, float)) and -1 <= rating <= 5 else None


def _texts(tags: Tags, xmp: Properties, iptc: Mapping[tuple[int, int], bytes | list[bytes]]) -> dict[str, str]:
    def of_iptc(key: tuple[int, int]) -> list[str]:
        values = iptc.get(key, [])
        return [_clean(decode_text(value)) for value in ([values] if isinstance(values, bytes) else values)]

    def first(property: str, key: tuple[int, int], *more: int) -> str:
        texts = [_first(xmp, property), *of_iptc(key), *[_clean(tags[tag]) for tag in more if tag in tags]]
        return next(filter(None, texts), "")

    windows = _clean(tags.get(_WINDOWS_KEYWORDS)).split(";")
    keywords = [*xmp.get("dc:subject", ()), *of_iptc(_IPTC_KEYWORDS), *windows]
    unique = dict.fromkeys(filter(None, (_clean(keyword) for keyword in keywords)))
    return {
        "title": first("dc:title", _IPTC_TITLE, _WINDOWS_TITLE),
        "description": first("dc:description", _IPTC_DESCRIPTION, _DESCRIPTION, _WINDOWS_COMMENT),
        "keywords": _BETWEEN_KEYWORDS.join(unique)[:_MAX_TEXT],
    }


def _position(gps: Tags, xmp: Properties) -> tuple[float, float] | None:
    """Latitude and longitude in degrees; south and west are negative."""
    latitude = _coordinate(gps, *_LATITUDE, "NS", 90)
    longitude = _coordinate(gps, *_LONGITUDE, "EW", 180)
    if latitude is None or longitude is None:
        latitude = _xmp_coordinate(_first(xmp, "exif:GPSLatitude"), "NS", 90)
        longitude = _xmp_coordinate(_first(xmp, "exif:GPSLongitude"), "EW", 180)
    if latitude is None or longitude is None or latitude == longitude == 0:  # 0, 0 without a fix
        return None
    return latitude, longitude


def _coordinate(gps: Tags, side_tag: int, tag: int, sides: str, most: int) -> float | None:
    side, value = _clean(gps.get(side_tag))[:1].upper(), gps.get(tag)
    parts = value if isinstance(value, tuple) else (value,)
    numbers = [part for part in parts if isinstance(part, (int, float))]
    return _degrees(numbers, side, sides, most)


def _xmp_coordinate(text: str, sides: str, most: int) -> float | None:
    match = _XMP_COORDINATE.fullmatch(text)
    return _degrees([float(part or 0) for part in match.groups()[:3]], match[4], sides, most) if match else None


def _degrees(parts: list[float] | list[int | float], side: str, sides: str, most: int) -> float | None:
    if not parts or not side or side not in sides:
        return None
    degrees = sum(part / 60**power for power, part in enumerate(parts[:3]) if power == 0 or not math.isnan(part))
    if not 0 <= degrees <= most:
        return None
    return round(-float(degrees) if side == sides[1] else float(degrees), 7)


def _first(xmp: Properties, *names: str) -> str:
    """The first value of the first property that exists; '' if none does."""
    for name in names:
        if name in xmp:
            return _clean(xmp[name][0])
    return ""


def _clean(value: object) -> str:
    """A text without unprintable characters; '' for other types. Bytes are UTF-16, which Windows writes."""
    if isinstance(value, bytes):
        value = value.decode("utf-16-le", errors="replace")
    if not isinstance(value, str):
        return ""
    if not value.isprintable():
        value = "".join(letter for letter in value[: 2 * _MAX_TEXT] if letter.isprintable() or letter in "\n\t")
    return value.strip()[:_MAX_TEXT]
