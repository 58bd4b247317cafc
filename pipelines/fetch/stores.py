"""Images and CSVs that lie elsewhere: `http(s)://` by httpx, object stores by fsspec."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from typing import IO, Any

from ..errors import UnreadableImage
from .http import LIMITS, Limits, download
from .read import MAX_BYTES

# Object stores only: fsspec also speaks ftp, sftp, smb and more, which would reach into a private network unchecked.
STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "hf", "memory"})
CSV_LIMITS = Limits(total=3600.0, size=16 * 2**30)


def fetch(url: str, allow_private: bool = False, limits: Limits = LIMITS) -> bytes:
    """An image's bytes, at most 64 MiB of them.

    Raises:
        UnreadableImage: with the reason.
    """
    if is_web(url):
        target = io.BytesIO()
        download(url, target, allow_private, limits)
        return target.getvalue()
    filesystem, name = open_store(url)
    try:
        data = filesystem.cat_file(name, start=0, end=MAX_BYTES + 1)
    except Exception as error:  # each store has errors of its own
        if "range" in str(error) and "not satisfiable" in str(error):  # S3's way to say that there is not one byte
            return b""
        raise UnreadableImage(store_reason(error)) from error
    if len(data) > MAX_BYTES:
        raise UnreadableImage(f"larger than {MAX_BYTES >> 20} MiB")
    return bytes(data)


def fetch_to_file(url: str, allow_private: bool = False) -> str:
    """A file of any size into a temporary one, whose name is returned and which the caller removes.

    Raises:
        UnreadableImage: with the reason.
    """
    descriptor, name = tempfile.mkstemp(suffix=".csv")
    try:
        with open(descriptor, "wb") as file:
            if is_web(url):
                download(url, file, allow_private, CSV_LIMITS)
            else:
                _copy_object(url, file)
    except BaseException:
        os.unlink(name)
        raise
    return name


def _copy_object(url: str, file: IO[bytes]) -> None:
    filesystem, name = open_store(url)
    try:
        with filesystem.open(name, "rb") as source:
            shutil.copyfileobj(source, file, 1 << 20)
    except Exception as error:
        raise UnreadableImage(store_reason(error)) from error


def is_web(url: str) -> bool:
    """True for http and https."""
    return scheme_of(url) in ("http", "https")


def scheme_of(url: str) -> str:
    """`s3` of `s3://bucket/a.jpg`."""
    return url.partition("://")[0].lower()


def open_store(url: str) -> tuple[Any, str]:
    """The fsspec file system of an address, and the name in it. Keys and endpoints come from the environment.

    Raises:
        UnreadableImage: no such kind of address, or a package is missing.
    """
    scheme = scheme_of(url)
    if scheme not in STORES or "::" in url:  # `::` chains file systems: s3://…::file://…
        raise UnreadableImage(f"addresses of the kind {scheme}:// are not supported (http, https, s3, gs, az, … are)")
    import fsspec

    try:
        filesystem, name = fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "oss": "ossfs", "hf": "huggingface_hub"}
        wanted = package.get(scheme, "adlfs")
        raise UnreadableImage(f"{scheme}:// needs one more package: pip install {wanted}") from error
    except Exception as error:
        raise UnreadableImage(store_reason(error)) from error
    return filesystem, name


def store_reason(error: Exception) -> str:
    """An object store's exception as one line."""
    if isinstance(error, FileNotFoundError):
        return "no such object in the store"
    if isinstance(error, PermissionError):
        return "no permission to read it (the store's credentials come from the environment)"
    if isinstance(error, IsADirectoryError):
        return "a folder, not a file"
    text = " ".join(str(error).split())[:160]
    return f"the store answers: {text or type(error).__name__}"
