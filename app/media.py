"""The routes `/thumb/{id}` and `/image/{id}`. A client names an id, never a path."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response

from pipelines.errors import SearchError, UnreadableImage
from pipelines.fields import PATH
from pipelines.milvus.schema import MTIME_NS, SIZE

from .library import Library
from .state import parse_id
from .thumbnails import EDGE, Encoded, Thumbnails, file_key, full_image

# An hour without asking, then a cheap 304. Private: the images are the user's own.
_CACHE = "private, max-age=3600"
# An image opened in a tab of its own may do nothing but be looked at.
_SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; sandbox; frame-ancestors 'none'"


def image_routes(library: Library, thumbnails: Thumbnails) -> APIRouter:
    """Both routes, to be put before the page, which takes every other address."""
    router, private = APIRouter(), library.settings.allow_private_urls

    @router.head("/thumb/{id}", include_in_schema=False)
    @router.get("/thumb/{id}", responses=_documented("image/webp"), response_class=Response, tags=["images"])
    def thumb(id: str, request: Request) -> Response:
        """A square WebP of EDGE pixels."""
        return _answer(library, id, request, f"thumb{EDGE}", thumbnails.get)

    @router.head("/image/{id}", include_in_schema=False)
    @router.get("/image/{id}", responses=_documented("image/*"), response_class=Response, tags=["images"])
    def image(id: str, request: Request) -> Response:
        """The image: the file itself where every browser shows its format, else a JPEG of it."""
        return _answer(library, id, request, "image", lambda path, key: full_image(path, private))

    return router


def _documented(media_type: str) -> dict[int | str, dict[str, Any]]:
    text: dict[str, Any] = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    return {
        200: {
            "content": {media_type: {"schema": {"type": "string", "format": "binary"}}},
            "description": "The image.",
        },
        304: {"description": "Unchanged since the ETag in `If-None-Match`."},
        404: {**text, "description": "No such image, or its file is gone."},
        503: {**text, "description": "The database does not answer."},
    }


def _answer(
    library: Library, image_id: str, request: Request, variant: str, load: Callable[[str, str], Encoded]
) -> Response:
    """Plain `def` routes run in threads: decoding never holds up the page."""
    number = parse_id(image_id)
    if number is None:
        return _refuse(404, "no such image")
    try:
        row = _stored(library, number)
    except SearchError:
        return _refuse(503, "the database does not answer")
    if row is None:
        return _refuse(404, "no such image")
    path = str(row[PATH])
    try:
        if not _is_what_was_indexed(row):
            return _refuse(404, "the image's file is gone or unreadable")
        key = file_key(path, variant)
        headers = {"ETag": f'"{key}"', "Cache-Control": _CACHE, "Content-Security-Policy": _SANDBOX}
        if _matches(request.headers.get("if-none-match", ""), key):
            return Response(status_code=304, headers=headers)
        encoded = load(path, key)
    except UnreadableImage:  # the reason may name a path, which is nobody's business here
        return _refuse(404, "the image's file is gone or unreadable")
    return Response(encoded.data, media_type=encoded.media_type, headers=headers)


def _stored(library: Library, number: int) -> dict[str, Any] | None:
    searcher = library.open()
    return searcher.collection.get([number], [PATH, MTIME_NS, SIZE], strong=False).get(number) if searcher else None


def _is_what_was_indexed(row: Mapping[str, Any]) -> bool:
    """A symbolic link may only lead to the file that it led to when it was indexed.

    Folders full of links are good collections; a link put there later, to somebody's private images, is none.
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
    tags = [model_id.strip().removeprefix("W/").strip('"') for model_id in if_none_match.split(",")]
    return key in tags


def _refuse(status: int, reason: str) -> Response:
    return Response(reason, status, {"Cache-Control": "no-store"}, media_type="text/plain")
