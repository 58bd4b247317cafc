"""Serve the images of the collection: `/thumb/{id}`, `/preview/{id}` and `/image/{id}`.

A client names an id, never a path. A file is sent only after it was decoded, or after its first bytes were checked.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.datastructures import Headers

from pipelines.errors import SearchError, UnreadableImage
from pipelines.fetch.read import is_remote, read_file
from pipelines.images.convert import Converter
from pipelines.images.worker import LARGEST, Encoded
from pipelines.settings import cache_dir

from .disk_cache import DiskCache
from .library import Library
from .originals import find_originals

# Box in pixels into which thumbnails are shrunk. It fills a row of the page on a high-resolution screen.
THUMB = (720, 320)
PREVIEWS = (1280, 2048)  # long sides of previews in pixels
MOST_BYTES = 2**30  # maximum for all cached thumbnails and previews together
_VERSION = "3"  # part of every key; raise it when thumbnails are made differently
# Query images have a converter of their own, so that they do not delay images of the collection. At most three of its
# processes work for one client: see `api.routes.Slots` and `QueryImages`.
convert_stored, convert_sent = Converter(), Converter(4, only_safe=True)

# Formats that every browser displays and that cannot contain scripts, by their first bytes.
_MAGIC = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
# Fresh for an hour, then revalidated. Private, because shared caches must not store a user's images.
_CACHE = "private, max-age=3600"
# Prevents an image that is opened in its own tab from running anything.
_SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; sandbox; frame-ancestors 'none'"
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_GONE = "the image's file is gone or unreadable"


class Thumbnails:
    """Makes small WebP versions of whole images, and caches them on disk.

    Args:
        allow_private: also fetch URLs on private, loopback and link-local addresses.
    """

    def __init__(self, folder: Path | None = None, allow_private: bool = False) -> None:
        self.cache = DiskCache(folder or cache_dir() / "thumbnails", MOST_BYTES, ".webp")
        self._allow_private = allow_private

    def get(self, path: str, key: str, box: tuple[int, int] = THUMB) -> Encoded:
        """Return the image of a file, shrunk to fit into a box. It is cached under the key, which `file_key` makes.

        Raises:
            UnreadableImage: the file cannot be read or decoded.
        """
        if (kept := self.cache.get(key)) is not None:
            return Encoded(kept, "image/webp")
        # The file is read before it occupies a process that decodes, so that a slow server delays no other image.
        thumbnail = convert_stored(read_file(path, self._allow_private), "WEBP", box, edge=max(box))
        self.cache.put(key, thumbnail.data)
        return thumbnail


def image_routes(library: Library, thumbnails: Thumbnails) -> APIRouter:
    """Return the routes. They must precede the page, which takes every other path."""
    router, private = APIRouter(), library.settings.allow_private_urls

    @router.get("/thumb/{id}", responses=_documented("image/webp"), response_class=Response, tags=["images"])
    def thumb(id: str, request: Request) -> Response:
        """The whole image as a WebP of at most 720 × 320 pixels."""
        return _answer(library, id, request, "thumb", thumbnails.get)

    @router.get("/preview/{id}", responses=_documented("image/webp"), response_class=Response, tags=["images"])
    def preview(id: str, request: Request, edge: int = 0) -> Response:
        """The whole image as a WebP for a screen of `edge` pixels. Its long side has at most 1,280 or 2,048 pixels."""
        side = next((side for side in PREVIEWS if side >= edge), PREVIEWS[-1])
        return _answer(
            library, id, request, f"preview{side}", lambda path, key: thumbnails.get(path, key, (side, side))
        )

    @router.get("/image/{id}", responses=_documented("image/*"), response_class=Response, tags=["images"])
    def image(id: str, request: Request) -> Response:
        """The image: the file itself if every browser can show its format, otherwise a JPEG of it."""
        return _answer(library, id, request, "image", lambda path, key: full_image(path, private))

    return router


def full_image(path: str, allow_private: bool = False) -> Encoded:
    """Return the file itself if every browser shows its format and it can contain no script, otherwise a JPEG of it.

    Raises:
        UnreadableImage: the file does not exist or is not an image.
    """
    data = read_file(path, allow_private)
    media_type = sniff(data)
    if media_type:
        return Encoded(data, media_type)
    return convert_stored(data, "JPEG", edge=max(LARGEST))


def sniff(data: bytes) -> str:
    """Return the media type of an image that may be sent unchanged; '' for everything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((media_type for magic, media_type in _MAGIC.items() if data.startswith(magic)), "")


def file_key(path: str, variant: str) -> str:
    """Return a cache key for a file in its current state. The content of a URL is assumed never to change.

    Raises:
        UnreadableImage: the file does not exist.
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


def _answer(
    library: Library, image_id: str, request: Request, variant: str, load: Callable[[str, str], Encoded]
) -> Response:
    """Answer a request. Routes that are plain `def` functions run in threads, so decoding does not block the page."""
    try:
        original = find_originals(library, [image_id]).get(image_id)
    except SearchError:
        return _refuse(503, "the database does not answer")
    if original is None:
        return _refuse(404, "no such image")
    path = original.path
    try:
        original.check()
        key = file_key(path, variant)
        headers = {"ETag": f'"{key}"', "Cache-Control": _CACHE, "Content-Security-Policy": _SANDBOX}
        if _matches(request.headers.get("if-none-match", ""), key):
            return Response(status_code=304, headers=headers)
        encoded = load(path, key)
    except UnreadableImage:  # its message may name a path, which clients must not see
        return _refuse(404, _GONE)
    return _whole_or_part(encoded, headers, request.headers)


def _whole_or_part(encoded: Encoded, headers: dict[str, str], asked: Headers) -> Response:
    """Answer with the range of bytes that `Range` names (RFC 9110), or with all bytes if it names none or several."""
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
