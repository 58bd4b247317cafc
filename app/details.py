"""The routes of the viewer: the details of one image, and opening its folder on the screen of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from pipelines.errors import UnreadableImage
from pipelines.fetch.read import is_remote, read_file
from pipelines.fields import FieldType, format_date, row_id
from pipelines.images.metadata import COLUMNS, read_metadata
from pipelines.search.results import Hit

from .cards import DetailsView, card_view, field_views
from .library import Library
from .originals import Original, find_originals
from .proxies import is_from_this_machine
from .search_state import SearchState

_READ = ("taken", "camera", "lens", "rating", "title", "description", "keywords", "width", "height")
_OPENING_SECONDS = 2.0  # an opener that runs longer than this is assumed to have succeeded
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def detail_routes(library: Library) -> APIRouter:
    """Return the routes of the page's viewer, which are not part of the API."""
    router, is_local = APIRouter(include_in_schema=False), library.settings.host in _LOOPBACK

    def find(image_id: str) -> tuple[Hit, Original]:
        hit, original = library.searcher().get(row_id(image_id)), find_originals(library, [image_id]).get(image_id)
        if hit is None or original is None:
            raise HTTPException(404, "no such image")
        return hit, original

    @router.get("/details/{id}", response_model=None)
    def details(id: str, request: Request) -> DetailsView:
        """Describe an image. The query string is that of the search whose results contain it."""
        hit, original = find(id)
        state = SearchState.from_url(request.url.query)
        return _describe(hit, original, state, is_local and is_from_this_machine(request.scope))

    @router.post("/folder/{id}", status_code=204)
    def open_folder(id: str, request: Request) -> Response:
        """Open the folder of an image for a reader whose browser runs on this machine."""
        _, original = find(id)
        command = _open_command(original.path)
        if not command or not is_local or not is_from_this_machine(request.scope):
            raise HTTPException(403, "folders can be opened only from a browser on the machine of the page")
        if not os.path.exists(original.path) or not _opens(command):
            raise HTTPException(404, "the folder cannot be opened")
        return Response(status_code=204)

    return router


def _describe(hit: Hit, original: Original, state: SearchState, is_near: bool) -> DetailsView:
    size, modified, is_here, fields = original.size, "", True, hit.fields
    try:
        original.check()
        if not is_remote(original.path):
            status = os.stat(original.path)
            size, modified = status.st_size, datetime.fromtimestamp(status.st_mtime).isoformat(timespec="minutes")
            fields = {**_from_file(original.path, fields), **fields}
    except (OSError, UnreadableImage):
        is_here = False
    return {
        "card": card_view(hit, state, scored=False),
        "path": _text(hit.path), "folder": _text(os.path.dirname(hit.path)), "bytes": size, "modified": modified,
        "width": _pixels(fields, "width"), "height": _pixels(fields, "height"),
        "fields": field_views(fields, ("label", "width", "height", "modified", "taken_offset")),
        "is_here": is_here, "can_open": is_near and is_here and bool(_open_command(hit.path)),
    }  # fmt: skip


def _opens(command: list[str]) -> bool:
    """Run the command that opens a folder. Return whether it succeeded, or still runs after _OPENING_SECONDS."""
    try:
        opener = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return opener.wait(_OPENING_SECONDS) == 0 or sys.platform == "win32"  # explorer always returns 1
    except OSError:
        return False
    except subprocess.TimeoutExpired:  # some openers run until the window is closed
        threading.Thread(target=opener.wait, daemon=True).start()
        return True


def _from_file(path: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata in the file for which the collection has no columns."""
    try:
        found = read_metadata(read_file(path), [name for name in _READ if name not in fields])
    except UnreadableImage:
        return {}
    return {name: format_date(value) if COLUMNS[name] is FieldType.DATE else value for name, value in found.items()}


def _open_command(path: str) -> list[str]:
    """Return the command that shows a file in its folder; [] without a screen, or if the path is remote or relative."""
    if is_remote(path) or not os.path.isabs(path):
        return []
    if sys.platform == "darwin":
        return ["open", "-R", path]
    if sys.platform == "win32":
        return ["explorer", f"/select,{path}"]
    has_screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    opener = shutil.which("xdg-open") if has_screen else None
    return [opener, os.path.dirname(path)] if opener else []


def _pixels(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    return value if isinstance(value, int) else 0


def _text(path: str) -> str:
    return path.encode(errors="replace").decode()
