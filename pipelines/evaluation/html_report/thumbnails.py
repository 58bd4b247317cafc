"""The images of a report, as small JPEGs inside the page."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from ...errors import UnreadableImage
from ...fetch.read import read_file
from ...images.decode import decode

_EDGE = 104
_JPEG_QUALITY = 68
_AT_ONCE = 8  # mostly waiting, where images are on the web


class Thumbnail(NamedTuple):
    """A small image as a `data:` address. The page has it once, under its number, however often it is shown."""

    number: int
    address: str


def thumbnails(paths: Iterable[str], allow_private: bool) -> dict[str, Thumbnail]:
    """One for each path that can be read; square, as the model sees the image."""
    wanted = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        made = pool.map(lambda path: _thumbnail(path, allow_private), wanted)
        pairs = enumerate(zip(wanted, made, strict=True))
        return {path: Thumbnail(number, address) for number, (path, address) in pairs if address}


def _thumbnail(path: str, allow_private: bool) -> str:
    import cv2

    try:
        pixels = decode(read_file(path, allow_private), size=_EDGE)
    except UnreadableImage:
        return ""  # the page shows the path in its place
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
