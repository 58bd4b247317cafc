"""Images with EXIF, IPTC and XMP, made here, and the damage that cameras and editors do to these."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from tests.support.images import encode, quadrants

TAKEN, TAKEN_OFFSET, TAKEN_FRACTION, LENS, MAKER_NOTE = 0x9003, 0x9011, 0x9291, 0xA434, 0x927C
_EXIF, _GPS = 0x8769, 0x8825

Tags = Mapping[int, Any]


def exif_of(main: Tags | None = None, exif: Tags | None = None, gps: Tags | None = None) -> Image.Exif:
    """Return EXIF with these tags in its main directory, its Exif directory and its GPS directory."""
    made = Image.Exif()
    made.update(main or {})
    for key, tags in ((_EXIF, exif), (_GPS, gps)):
        if tags:
            made.get_ifd(key).update(tags)
    return made


def jpeg(
    main: Tags | None = None, exif: Tags | None = None, gps: Tags | None = None, xmp: str = "",
    iptc: Mapping[tuple[int, int], Sequence[bytes]] | None = None,
) -> bytes:  # fmt: skip
    """Return a JPEG of 120×80 pixels with this metadata."""
    options: dict[str, Any] = {"exif": exif_of(main, exif, gps).tobytes()} if main or exif or gps else {}
    if xmp:
        options["xmp"] = xmp.encode()
    data = encode(quadrants(), "JPEG", **options)
    return data[:2] + (_iptc_segment(iptc) if iptc else b"") + data[2:]


def jpeg_with(blob: bytes) -> bytes:
    """Return a JPEG with exactly these bytes as its EXIF."""
    return encode(quadrants(), "JPEG", exif=b"Exif\0\0" + blob)


def xmp_of(properties: str, attributes: str = "") -> str:
    """Return XMP with these properties, as elements and as attributes."""
    spaces = {
        "dc": "http://purl.org/dc/elements/1.1/", "xmp": "http://ns.adobe.com/xap/1.0/",
        "exif": "http://ns.adobe.com/exif/1.0/", "aux": "http://ns.adobe.com/exif/1.0/aux/",
        "tiff": "http://ns.adobe.com/tiff/1.0/", "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    }  # fmt: skip
    declared = " ".join(f'xmlns:{name}="{address}"' for name, address in spaces.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f"<rdf:Description {declared} {attributes}>{properties}</rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="w"?>'
    )


def directory(entries: Sequence[tuple[int, int, int, bytes]], count: int = -1, next_at: int = 0) -> bytes:
    """Return a little-endian TIFF with one directory of (tag, type, number of values, four bytes).

    Args:
        count: the number of entries that it claims, -1 for the true one.
    """
    rows = b"".join(struct.pack("<HHI", tag, kind, number) + value for tag, kind, number, value in entries)
    claimed = len(entries) if count < 0 else count
    return b"II*\0" + struct.pack("<IH", 8, claimed) + rows + struct.pack("<I", next_at)


def _iptc_segment(iptc: Mapping[tuple[int, int], Sequence[bytes]]) -> bytes:
    records = b"".join(
        struct.pack(">BBBH", 0x1C, *key, len(value)) + value for key, values in iptc.items() for value in values
    )
    resource = b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(records)) + records + bytes(len(records) % 2)
    content = b"Photoshop 3.0\0" + resource
    return b"\xff\xed" + struct.pack(">H", len(content) + 2) + content
