"""The pictures of a report, as small JPEGs inside the page."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from ...images.decode import decode
from ...images.reading import UnreadablePicture

# What a page of 12 examples of each kind has room for in a megabyte.
_EDGE = 104
_JPEG_QUALITY = 68
_AT_ONCE = 8  # mostly waiting, where pictures are on the web


def thumbnails(paths: Iterable[str], allow_private: bool) -> dict[str, str]:
    """A `data:` address for each path that can be read; square, as the model sees the picture."""
    wanted = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        made = pool.map(lambda path: _thumbnail(path, allow_private), wanted)
        return {path: address for path, address in zip(wanted, made, strict=True) if address}


def _thumbnail(path: str, allow_private: bool) -> str:
    import cv2

    try:
        pixels = decode(path, size=_EDGE, allow_private=allow_private)
    except UnreadablePicture:
        return ""  # the page shows the path in its place
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
