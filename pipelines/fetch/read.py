"""An image's bytes, wherever it lies: a file, an address on the web, an object in a store. Or why there are none."""

from __future__ import annotations

import os
import re
import stat
from typing import TypeGuard

from ..errors import UnreadableImage

MAX_BYTES = 64 * 2**20

_URL = re.compile(r"(?!file:)[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_remote(path: object) -> TypeGuard[str]:
    """True for an address that is no local path: `https://…`, `s3://…`."""
    return isinstance(path, str) and "://" in path and _URL.match(path) is not None


def local_path(path: str) -> str:
    """`file:///home/me/a.jpg` as a local path; everything else as it is."""
    if path[:7].lower() != "file://":
        return path
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    return os.path.join(os.sep, url2pathname(urlsplit(path).path))


def read_file(path: str | os.PathLike[str], allow_private: bool = False) -> bytes:
    """Reads an image of at most 64 MiB: a regular file and nothing else (no FIFO, no device, no folder), or a URL.

    Args:
        path: a local path, `http(s)://…`, or an address that fsspec knows (`s3://…`, `gs://…`).
        allow_private: also fetch from private, loopback and link-local addresses.

    Raises:
        UnreadableImage: with the reason.
    """
    if is_remote(path):
        from .stores import fetch

        return fetch(path, allow_private)
    if not os.fspath(path):
        raise UnreadableImage("the path is empty")
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        known = {"FileNotFoundError": "no such file", "PermissionError": "no permission to read it"}
        reason = known.get(type(error).__name__) or getattr(error, "strerror", None) or str(error)
        raise UnreadableImage(reason) from error
    status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
        os.close(descriptor)
        raise UnreadableImage("a folder, not a file")
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImage("not a regular file")
        if status.st_size > MAX_BYTES:
            raise UnreadableImage(f"larger than {MAX_BYTES >> 20} MiB")
        try:
            return file.read(MAX_BYTES)
        except OSError as error:  # a failing disk, a network drive that went away
            raise UnreadableImage(f"cannot be read: {error.strerror}") from error
