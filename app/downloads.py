"""Downloads of the original image files: a single file, or several in a ZIP that is written while it is sent."""

from __future__ import annotations

import io
import os
import re
import secrets
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form, HTTPException, Response
from starlette.responses import StreamingResponse

from pipelines.errors import UnreadableImage
from pipelines.fetch.read import read_file
from pipelines.settings import cache_dir

from .disk_cache import DiskCache
from .library import Library
from .media import THUMB, convert_stored, sniff
from .originals import Original, find_originals

MOST_IMAGES = 1_000
MOST_BYTES = 4 * 2**30
_PREPARED_BYTES = 2**20  # maximum size of all id lists of ZIPs that were prepared
_KEY = re.compile(r"[A-Za-z0-9_-]{22}")
_BINARY = "application/octet-stream"  # no browser displays this type, whatever the file contains


class ArchiveTooLarge(Exception):
    """The files exceed MOST_BYTES while they are sent. The transfer breaks off, and the browser reports a failure."""


def download_routes(library: Library) -> APIRouter:
    """Return the routes with which the page saves files. They are not part of the API."""
    router, private = APIRouter(include_in_schema=False), library.settings.allow_private_urls
    # On disk, because another process behind the same proxy may have to send the ZIP that this one prepared.
    prepared = DiskCache(cache_dir() / "zips", _PREPARED_BYTES, ".txt")

    @router.get("/download/{id}")
    def download(id: str) -> Response:
        """Send the file of an image as a download."""
        original = find_originals(library, [id]).get(id)
        try:
            if original is None:
                raise UnreadableImage("no such image")
            return Response(_read(original, private), headers=_attachment(_name(original)), media_type=_BINARY)
        except UnreadableImage as error:  # its message may name a path
            raise HTTPException(404, "no such image, or its file is gone") from error

    @router.post("/zip")
    def prepare(ids: Annotated[str, Form()]) -> dict[str, str]:
        """Prepare a ZIP of the images with these comma-separated ids, and return its address."""
        wanted = list(dict.fromkeys(ids.split(",")))
        if len(wanted) > MOST_IMAGES:
            raise HTTPException(413, f"a ZIP holds at most {MOST_IMAGES:,} images")
        originals = find_originals(library, wanted)
        if sum(original.size for original in originals.values()) > MOST_BYTES:
            raise HTTPException(413, f"a ZIP holds at most {MOST_BYTES >> 30} GB")
        key = secrets.token_urlsafe(16)
        prepared.put(key, ",".join(originals).encode())
        if prepared.get(key) is None:
            raise HTTPException(503, "the ZIP cannot be prepared: the cache folder cannot be written")
        return {"address": f"zip/{key}"}

    @router.get("/zip/{key}")
    def archive(key: str) -> Response:
        """Send a ZIP that was prepared."""
        ids = prepared.get(key) if _KEY.fullmatch(key) else None
        if ids is None:
            raise HTTPException(404, "this ZIP is no longer prepared")
        originals = list(find_originals(library, ids.decode().split(",")).values()) if ids else []
        return StreamingResponse(
            _zip(originals, private), headers=_attachment("images.zip"), media_type="application/zip"
        )

    return router


class _Unsent(io.RawIOBase):
    """A buffer for bytes that the ZIP writer has written and that have not been sent yet."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: Any, /) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data, self._parts = b"".join(self._parts), []
        return data


def _zip(originals: Sequence[Original], allow_private: bool) -> Iterator[bytes]:
    """Yield a ZIP, one file at a time. Files are stored uncompressed, because images are already compressed.

    Raises:
        ArchiveTooLarge: the files exceed MOST_BYTES.
    """
    unsent, sent, names, lost = _Unsent(), 0, Counter[str](), []
    with zipfile.ZipFile(unsent, "w") as archive:
        for original in originals:
            try:
                data = _read(original, allow_private)
            except UnreadableImage:
                lost.append(_name(original))
                continue
            if sent + len(data) > MOST_BYTES:
                raise ArchiveTooLarge
            archive.writestr(_entry(original, names), data)
            sent += len(data)
            yield unsent.take()
        if lost:
            archive.writestr("missing.txt", "".join(f"{name}\n" for name in lost))
    yield unsent.take()


def _entry(original: Original, names: Counter[str]) -> zipfile.ZipInfo:
    """Return the ZIP entry of a file. The second file with the same name becomes `cat (2).jpg`."""
    name = _name(original)
    names[name.lower()] += 1
    if (number := names[name.lower()]) > 1:
        stem, suffix = os.path.splitext(name)
        name = f"{stem} ({number}){suffix}"
    moment = time.localtime(original.mtime_ns / 1e9)[:6]
    return zipfile.ZipInfo(name, moment if 1980 <= moment[0] <= 2107 else (1980, 1, 1, 0, 0, 0))


def _read(original: Original, allow_private: bool) -> bytes:
    """Return the bytes of an image's file.

    Raises:
        UnreadableImage: the file does not exist, or it has changed since it was indexed and is not an image.
    """
    original.check()
    data = read_file(original.path, allow_private)
    if not original.is_unchanged and not sniff(data):
        convert_stored(data, "WEBP", THUMB, edge=max(THUMB))
    return data


def _name(original: Original) -> str:
    name = os.path.basename(original.path.partition("?")[0]).encode(errors="replace").decode()
    return "".join(char for char in name if char.isprintable() and char not in '\\/:*?"<>|') or "image"


def _attachment(name: str) -> dict[str, str]:
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}", "Cache-Control": "no-store"}
