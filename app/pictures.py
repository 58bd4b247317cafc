"""The routes `/thumb/{id}` and `/image/{id}`. A client names an id, never a path."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from pipelines.errors import SearchError
from pipelines.images.decode import UnreadablePicture

from .library import Library
from .permalink import parse_id
from .thumbnails import EDGE, Encoded, Thumbnails, file_key, full_picture

# An hour without asking, then a cheap 304. Private: the pictures are the user's own.
_CACHE = "private, max-age=3600"
# A picture opened in a tab of its own may do nothing but be looked at.
_SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; sandbox; frame-ancestors 'none'"


def picture_routes(library: Library, thumbnails: Thumbnails) -> APIRouter:
    """Both routes, to be put before the page, which takes every other address."""
    router = APIRouter()

    @router.api_route("/thumb/{picture_id}", methods=["GET", "HEAD"])
    def thumb(picture_id: str, request: Request) -> Response:
        return _answer(library, picture_id, request, f"thumb{EDGE}", thumbnails.get)

    @router.api_route("/image/{picture_id}", methods=["GET", "HEAD"])
    def image(picture_id: str, request: Request) -> Response:
        return _answer(library, picture_id, request, "image", lambda path, key: full_picture(path))

    return router


def _answer(
    library: Library, picture_id: str, request: Request, variant: str, load: Callable[[str, str], Encoded]
) -> Response:
    """Plain `def` routes run in threads: decoding never holds up the page."""
    number = parse_id(picture_id)
    if number is None:
        return _refuse(404, "no such picture")
    try:
        hit = library.get(number)
    except SearchError:
        return _refuse(503, "the database does not answer")
    if hit is None:
        return _refuse(404, "no such picture")
    try:
        key = file_key(hit.path, variant)
        headers = {"ETag": f'"{key}"', "Cache-Control": _CACHE, "Content-Security-Policy": _SANDBOX}
        if _matches(request.headers.get("if-none-match", ""), key):
            return Response(status_code=304, headers=headers)
        encoded = load(hit.path, key)
    except UnreadablePicture:  # the reason may name a path, which is nobody's business here
        return _refuse(404, "the picture's file is gone or unreadable")
    return Response(encoded.data, media_type=encoded.media_type, headers=headers)


def _matches(if_none_match: str, key: str) -> bool:
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in if_none_match.split(",")]
    return key in tags


def _refuse(status: int, reason: str) -> Response:
    return Response(reason, status, {"Cache-Control": "no-store"}, media_type="text/plain")
