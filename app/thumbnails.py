"""Images for the browser: always by id, always through a decoder or a check of their first bytes."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.errors import UnreadableImage
from pipelines.fetch.read import is_remote, read_file
from pipelines.images.decode import decode
from pipelines.settings import cache_dir

EDGE = 320
_VERSION = "2"  # part of every key: raise it when thumbnails are made differently
_LARGEST_EDGE = 4096
_QUALITY = 72
# A decoded image can take 384 MB: so many at a time, whatever the browser asks for.
_decoding = threading.BoundedSemaphore(2)

# Formats that every browser shows and that cannot carry a script, by their first bytes.
_MAGIC = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}


@dataclass(frozen=True, slots=True)
class Encoded:
    """An image as it is sent."""

    data: bytes
    media_type: str


def file_key(path: str, variant: str) -> str:
    """Names one state of one file; changes when the file does. What is at a URL is taken as unchanging.

    Raises:
        UnreadableImage: it is gone.
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


class Thumbnails:
    """Square WebP thumbnails of EDGE pixels, kept on disk from one run to the next.

    Args:
        allow_private: also fetch URLs on private, loopback and link-local addresses.
    """

    def __init__(self, folder: Path | None = None, allow_private: bool = False) -> None:
        self._folder = folder or cache_dir() / "thumbnails"
        self._allow_private = allow_private

    def get(self, path: str, key: str) -> Encoded:
        """The thumbnail of a file whose key is known.

        Raises:
            UnreadableImage: it cannot be decoded.
        """
        kept = self._folder / key[:2] / f"{key}.webp"
        try:
            return Encoded(kept.read_bytes(), "image/webp")
        except OSError:
            pass
        # Fetched before its turn to be decoded: a slow server holds up nobody else.
        data = read_file(path, self._allow_private)
        with _decoding:
            pixels = decode(data, size=EDGE)
        made = _encode(pixels, "WEBP")
        _keep(kept, made.data)
        return made


def full_image(path: str, allow_private: bool = False) -> Encoded:
    """The file itself where its first bytes say that a browser may have it, else a JPEG of its pixels.

    Raises:
        UnreadableImage: it is gone or no image.
    """
    data = read_file(path, allow_private)
    media_type = sniff(data)
    if media_type:
        return Encoded(data, media_type)
    with _decoding:
        pixels = decode(data)
    return _encode(pixels, "JPEG")


def sniff(data: bytes) -> str:
    """The media type of an image that may be sent as it is, '' for everything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((media_type for magic, media_type in _MAGIC.items() if data.startswith(magic)), "")


def _encode(pixels: np.ndarray, format_name: str) -> Encoded:
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((_LARGEST_EDGE, _LARGEST_EDGE))
    buffer = io.BytesIO()
    image.save(buffer, format_name, quality=_QUALITY)
    return Encoded(buffer.getvalue(), f"image/{format_name.lower()}")


def _keep(target: Path, data: bytes) -> None:
    """Written aside and renamed, so that no reader sees half a file. A full disk only costs the cache."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(dir=target.parent, suffix=".part")
        with open(descriptor, "wb") as file:
            file.write(data)
        os.replace(aside, target)
    except OSError:
        pass
