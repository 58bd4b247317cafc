"""What a file is that cannot be opened as an image, in words, by its first bytes."""

from __future__ import annotations

import codecs

_HEIC = (b"heic", b"heix", b"mif1", b"msf1", b"hevc", b"hevx", b"heim", b"heis")
_NOT_SUPPORTED = "this format is not supported"

# First bytes → what to say.
_KINDS = {
    b"<": "markup (HTML, SVG or XML), not an image",
    b"%PDF": "a PDF, not an image",
    b"%!PS": "PostScript, not an image",
    b"version https://git-lfs": "a Git LFS pointer, not the image itself: git lfs pull",
    b"PK\x03\x04": "a ZIP archive or an office document, not an image",
    b"\x1f\x8b": "a gzip archive, not an image",
    b"\x1a\x45\xdf\xa3": "a video, not an image",
    b"\xff\x0a": f"JPEG XL: {_NOT_SUPPORTED}",
    b"\0\0\0\x0cJXL ": f"JPEG XL: {_NOT_SUPPORTED}",
    b"II\xbc": f"JPEG XR: {_NOT_SUPPORTED}",
    b"8BPS": f"a Photoshop document: {_NOT_SUPPORTED}",
    b"\0\0\x01\0": f"an icon (ICO): {_NOT_SUPPORTED}",
    b"icns": f"an icon (ICNS): {_NOT_SUPPORTED}",
    b"qoif": f"QOI: {_NOT_SUPPORTED}",
    b"DDS ": f"a texture (DDS): {_NOT_SUPPORTED}",
    b"#?RADIANCE": f"Radiance HDR: {_NOT_SUPPORTED}",
    b"\x76\x2f\x31\x01": f"OpenEXR: {_NOT_SUPPORTED}",
    b"PF\n": "floating-point pixels are not supported",
    b"FUJIFILM": f"a camera's RAW: {_NOT_SUPPORTED}",
    b"II*\0": "a TIFF of a kind that is not supported (a camera's RAW, floating-point pixels), or damaged",
    b"MM\0*": "a TIFF of a kind that is not supported (a camera's RAW, floating-point pixels), or damaged",
    b"\xff\xd8": "a JPEG of a kind that is not supported (12 bits, JPEG-LS), or damaged at its start",
    b"\x89PNG": "a PNG damaged at its start",
    b"GIF8": "a GIF damaged at its start",
    b"BM": "a BMP damaged at its start, or no image",
}


def describe(data: bytes) -> str:
    """A reason for the reject list."""
    head = data[:512].removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n")
    if data[4:8] == b"ftyp":
        return _describe_container(data[8:12])
    if data[:4] == b"RIFF":
        return "a WebP damaged at its start" if data[8:12] == b"WEBP" else "a video or sound (RIFF), not an image"
    for start, kind in _KINDS.items():
        if data.startswith(start) or head.startswith(start):
            return kind
    return "not an image of a known format, or damaged at its start"


def _describe_container(brand: bytes) -> str:
    if brand in _HEIC:
        return "HEIC needs one more package (pip install pillow-heif), or it is damaged"
    if brand in (b"avif", b"avis"):
        return "an AVIF damaged at its start"
    if brand == b"crx ":
        return f"a camera's RAW: {_NOT_SUPPORTED}"
    return "a video, not an image"
