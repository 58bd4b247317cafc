"""The images of the collection for browsers: `/thumb/{id}` and `/image/{id}`.

A client names an id, never a path. Data is sent after it was decoded, or after a check of its first bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fastapi import APIRouter, Request, Response
from starlette.datastructures import Headers

from pipelines.errors import CollectionNotFound, SearchError, UnreadableImage
from pipelines.fetch.read import is_remote, read_file
from pipelines.fields import PATH, row_id
from pipelines.files import write_atomically
from pipelines.images.decode import decode
from pipelines.milvus.schema import MTIME_NS, SIZE
from pipelines.settings import cache_dir

from .library import Library

EDGE = 320  # pixels
_VERSION = "2"  # part of every key: raise it when thumbnails are made differently
_LARGEST_EDGE = 4096
_QUALITY = 72
# Decoded images take up to 384 MB each.
_decoding = threading.BoundedSemaphore(2)

# Formats that every browser shows and that cannot carry a script, by their first bytes.
_MAGIC = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
# Fresh for an hour, then revalidated. Private: shared caches must not keep a user's images.
_CACHE = "private, max-age=3600"
# An image that is opened in its own tab can run nothing.
_SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; sandbox; frame-ancestors 'none'"
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_GONE = "the image's file is gone or unreadable"


class Encoded(NamedTuple):
    """An image as it is sent."""

    data: bytes
    media_type: str


class Thumbnails:
    """Square WebP thumbnails of EDGE pixels, cached on disk.

    Args:
        allow_private: also fetch URLs on private, loopback and link-local addresses.
    """

    def __init__(self, folder: Path | None = None, allow_private: bool = False) -> None:
        self._folder = folder or cache_dir() / "thumbnails"
        self._allow_private = allow_private

    def get(self, path: str, key: str) -> Encoded:
        """Return the thumbnail of a file, under the key of its present state.

        Raises:
            UnreadableImage: the file cannot be read or decoded.
        """
        kept = self._folder / key[:2] / f"{key}.webp"
        with contextlib.suppress(OSError):
            return Encoded(kept.read_bytes(), "image/webp")
        # Read before its turn to be decoded, so that a slow server delays no other image.
        data = read_file(path, self._allow_private)
        with _decoding:
            pixels = decode(data, size=EDGE)
        thumbnail = encode(pixels, "WEBP")
        with contextlib.suppress(OSError):  # a full disk only costs the cache
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, lambda part: part.write_bytes(thumbnail.data), is_cache=True)
        return thumbnail


def image_routes(library: Library, thumbnails: Thumbnails) -> APIRouter:
    """Return both routes. They must precede the page, which takes every other address."""
    router, private = APIRouter(), library.settings.allow_private_urls

    @router.get("/thumb/{id}", responses=_documented("image/webp"), response_class=Response, tags=["images"])
    def thumb(id: str, request: Request) -> Response:
        """A square WebP of 320 pixels."""
        return _answer(library, id, request, f"thumb{EDGE}", thumbnails.get)

    @router.get("/image/{id}", responses=_documented("image/*"), response_class=Response, tags=["images"])
    def image(id: str, request: Request) -> Response:
        """The image: the file itself where every browser shows its format, else a JPEG of it."""
        return _answer(library, id, request, "image", lambda path, key: full_image(path, private))

    return router


def full_image(path: str, allow_private: bool = False) -> Encoded:
    """Return the file itself if its first bytes say that a browser may have it, else a JPEG of its pixels.

    Raises:
        UnreadableImage: the file is gone or not an image.
    """
    data = read_file(path, allow_private)
    media_type = sniff(data)
    if media_type:
        return Encoded(data, media_type)
    with _decoding:
        pixels = decode(data)
    return encode(pixels, "JPEG")


def sniff(data: bytes) -> str:
    """Return the media type of an image that may be sent as it is, '' for everything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((media_type for magic, media_type in _MAGIC.items() if data.startswith(magic)), "")


def file_key(path: str, variant: str) -> str:
    """Return a name for the present state of a file. The content of a URL is assumed never to change.

    Raises:
        UnreadableImage: the file is gone.
    """
    state = "url"
    if not is_remote(path):
        try:
            status = os.stat(path)
        except (OSError, ValueError) as error:
            raise UnreadableImage("no such file") from error
        state = f"{status.st_mtime_ns}\0{status.st_size}"
    parts = f"{_VERSION}\0{variant}\0{state}\0".encode() + os.fsencode(path)
    return hashlib.blake2b(parts, digest_size=16).hexdigest()


def encode(pixels: np.ndarray, format_name: str) -> Encoded:
    """Encode uint8[height, width, 3] RGB as PNG, JPEG or WEBP, shrunk to 4,096 pixels."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((_LARGEST_EDGE, _LARGEST_EDGE))
    buffer = io.BytesIO()
    image.save(buffer, format_name, quality=_QUALITY)
    return Encoded(buffer.getvalue(), f"image/{format_name.lower()}")


def _answer(
    library: Library, image_id: str, request: Request, variant: str, load: Callable[[str, str], Encoded]
) -> Response:
    """Answer a request. Plain `def` routes run in threads, so decoding does not block the page."""
    number = row_id(image_id)
    try:
        with library.searcher().reading() as opened:
            row = opened.collection.get([number], [PATH, MTIME_NS, SIZE], strong=False).get(number)
    except CollectionNotFound:
        row = None
    except SearchError:
        return _refuse(503, "the database does not answer")
    if row is None:
        return _refuse(404, "no such image")
    path = str(row[PATH])
    try:
        if not _is_as_indexed(row):
            return _refuse(404, _GONE)
        key = file_key(path, variant)
        headers = {"ETag": f'"{key}"', "Cache-Control": _CACHE, "Content-Security-Policy": _SANDBOX}
        if _matches(request.headers.get("if-none-match", ""), key):
            return Response(status_code=304, headers=headers)
        encoded = load(path, key)
    except UnreadableImage:  # its message may name a path, which clients must not see
        return _refuse(404, _GONE)
    return _whole_or_part(encoded, headers, request.headers)


def _whole_or_part(encoded: Encoded, headers: dict[str, str], asked: Headers) -> Response:
    """Answer with all bytes, or with those that one `Range` names (RFC 9110); several ranges get all."""
    data, headers = encoded.data, {**headers, "Accept-Ranges": "bytes"}
    wanted = _RANGE.fullmatch(asked.get("range", ""))
    if not wanted or not any(wanted.groups()) or asked.get("if-range", headers["ETag"]) != headers["ETag"]:
        return Response(data, media_type=encoded.media_type, headers=headers)
    first, last = wanted.groups()
    start = int(first) if first else max(0, len(data) - int(last))
    end = min(int(last), len(data) - 1) if first and last else len(data) - 1
    if start >= len(data) or (first and last and int(last) < start):
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
    return Response(data[start : end + 1], 206, headers, encoded.media_type)


def _is_as_indexed(row: Mapping[str, Any]) -> bool:
    """Whether a path leads to the file that it led to when it was indexed.

    Collections may consist of symbolic links. A link that was put there later could lead to private files.
    """
    path = os.path.abspath(row[PATH])
    if os.path.realpath(path) == path:
        return True
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return False
    return (status.st_mtime_ns, status.st_size) == (row[MTIME_NS], row[SIZE])


def _matches(if_none_match: str, key: str) -> bool:
    return key in [tag.strip().removeprefix("W/").strip('"') for tag in if_none_match.split(",")]


def _refuse(status: int, reason: str) -> Response:
    return Response(reason, status, {"Cache-Control": "no-store"}, media_type="text/plain")


def _documented(media_type: str) -> dict[int | str, dict[str, Any]]:
    image: dict[str, Any] = {"content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}
    text: dict[str, Any] = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    return {
        200: {**image, "description": "The image."},
        206: {**image, "description": "The bytes that `Range` names."},
        304: {"description": "Unchanged since the ETag in `If-None-Match`."},
        404: {**text, "description": "No such image, or its file is gone."},
        416: {"description": "The image has no such bytes."},
        503: {**text, "description": "The database does not answer."},
    }
