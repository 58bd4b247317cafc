"""Read the bytes of one file: from a disk, the web (httpx) or an object store (fsspec)."""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeGuard

from ..errors import TooLarge, UnreadableFile, UnreadableImage
from .near_path import hint

MAX_BYTES = 64 * 2**20  # of an image file
MAX_CSV_BYTES = 16 * 2**30
CSV_SECONDS = 3600.0

# The package for each kind of object store. No other protocol of fsspec is allowed: ftp, sftp, smb and others would
# connect to a private network unchecked.
STORE_PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "oss": "ossfs", "hf": "huggingface_hub",
    "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs", "adl": "adlfs", "memory": "fsspec",
}  # fmt: skip

_REASONS: dict[type[Exception], str] = {
    PermissionError: "no permission to read it",
    IsADirectoryError: "a folder, not a file",
}
_URL = re.compile(r"(?!file:)[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_remote(path: object) -> TypeGuard[str]:
    """True for a URL such as `https://…` or `s3://…`, but not for `file://…`."""
    return isinstance(path, str) and "://" in path and _URL.match(path) is not None


def resolve_dots(path: str) -> str:
    """Make a local path absolute and remove '.' and '..'. Links stay, except before '..'.

    `link/..` is the parent of the link's target, as for the system. For `os.path.normpath` it is the link's own folder.
    """
    drive, rest = os.path.splitdrive(os.path.join(os.getcwd(), path))
    resolved = drive + os.sep
    for part in rest.replace(os.altsep or os.sep, os.sep).split(os.sep):
        if part == "..":
            resolved = os.path.dirname(os.path.realpath(resolved) if os.path.islink(resolved) else resolved)
        elif part not in ("", "."):
            resolved = os.path.join(resolved, part)
    return resolved


def is_web(url: str) -> bool:
    """True for http and https."""
    return url.lower().startswith(("http://", "https://"))


def local_path(path: str) -> str:
    """Return the local path of `file:///home/me/a.jpg`, and any other path unchanged."""
    if path[:7].lower() != "file://":
        return path
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    return os.path.join(os.sep, url2pathname(urlsplit(path).path))


def read_file(path: str | os.PathLike[str], allow_private: bool = False) -> bytes:
    """Read an image file of at most 64 MiB.

    Args:
        path: a URL (`http(s)://…`, `s3://…`, `gs://…`), or the path of a regular file: no FIFO, device or folder.
        allow_private: also fetch from private, loopback and link-local addresses.

    Raises:
        UnreadableImage: the message is the reason.
    """
    try:
        return _read_remote(path, allow_private) if is_remote(path) else _read_local(path)
    except UnreadableImage:
        raise
    except UnreadableFile as error:
        raise UnreadableImage(str(error)) from error


def _read_local(path: str | os.PathLike[str]) -> bytes:
    if not os.fspath(path):
        raise UnreadableFile("the path is empty")
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableFile("not a regular file")
            if status.st_size > MAX_BYTES:
                raise TooLarge(f"larger than {MAX_BYTES >> 20} MiB")
            return file.read(MAX_BYTES)
    except FileNotFoundError as error:
        raise UnreadableFile("no such file" + hint(os.fsdecode(path))) from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = _REASONS.get(type(error)) or getattr(error, "strerror", None) or str(error)
        raise UnreadableFile(reason) from error


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a FIFO without waiting until another process writes into it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _read_remote(url: str, allow_private: bool) -> bytes:
    if is_web(url):
        from .http import download

        target = io.BytesIO()
        download(url, target, MAX_BYTES, allow_private)
        return target.getvalue()
    filesystem, name = open_store(url)
    try:
        data = filesystem.cat_file(name, start=0, end=MAX_BYTES + 1)
    except Exception as error:  # each store raises its own exceptions
        if "range" in str(error) and "not satisfiable" in str(error):  # S3's error for an empty object
            return b""
        raise UnreadableFile(_store_reason(error)) from error
    if len(data) > MAX_BYTES:
        raise TooLarge(f"larger than {MAX_BYTES >> 20} MiB")
    return bytes(data)


def download_file(url: str, target: IO[bytes], allow_private: bool = False) -> None:
    """Write the content of a URL into `target`. From the web it may have at most 16 GiB, the limit for a CSV.

    Raises:
        UnreadableFile: the message is the reason.
    """
    if is_web(url):
        from .http import download

        return download(url, target, MAX_CSV_BYTES, allow_private, CSV_SECONDS)
    filesystem, name = open_store(url)
    with store_errors(), filesystem.open(name, "rb") as source:
        shutil.copyfileobj(source, target, 1 << 20)


def open_store(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL and the name in it. Keys and endpoints come from the environment.

    Raises:
        UnreadableFile: this kind of URL is not supported, or needs a package that is not installed.
    """
    scheme = url.partition("://")[0].lower()
    if scheme not in STORE_PACKAGES or "::" in url:  # `::` chains file systems: s3://…::file://…
        raise UnreadableFile(f"addresses of the kind {scheme}:// are not supported (http, https, s3, gs, az, … are)")
    import fsspec

    with store_errors():
        try:
            filesystem, name = fsspec.core.url_to_fs(url)
        except ImportError as error:
            raise UnreadableFile(f"{scheme}:// needs one more package: pip install {STORE_PACKAGES[scheme]}") from error
    return filesystem, name


@contextmanager
def store_errors(url: str = "") -> Iterator[None]:
    """Turn any exception of an object store into an error of one line. Each store raises its own exceptions.

    Args:
        url: named in the message, if given.

    Raises:
        UnreadableFile: for any exception.
    """
    try:
        yield
    except Exception as error:
        raise UnreadableFile(f"{url}: {_store_reason(error)}" if url else _store_reason(error)) from error


def _store_reason(error: Exception) -> str:
    if isinstance(error, UnreadableFile):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "no such object in the store"
    if isinstance(error, PermissionError):
        return "no permission to read it (the store's credentials come from the environment)"
    if isinstance(error, IsADirectoryError):
        return "a folder, not a file"
    text = " ".join(str(error).split())[:160]
    return f"the store answers: {text or type(error).__name__}"
