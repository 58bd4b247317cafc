"""Milvus Lite databases that cannot be written, such as on a DVD: each is opened as a temporary folder of links.

Milvus Lite writes as soon as it opens a database. Sealed files never change, so they are linked. The few other files
are small, so they are copied.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, NamedTuple

from ..errors import StoreError, StoreReadOnly

_SEALED = (".parquet", ".idx")
_LOCK = "LOCK"


class _Mirror(NamedTuple):
    folder: tempfile.TemporaryDirectory[str]
    lock: IO[bytes] | None


_mirrors: dict[str, _Mirror] = {}


def is_read_only(path: str) -> bool:
    """Return whether this is an existing database that this process cannot write."""
    parts = (path, os.path.join(path, _LOCK), os.path.join(path, "collections"))
    return os.path.isdir(path) and not all(os.access(part, os.W_OK) for part in parts if os.path.exists(part))


def opened_as(path: str) -> str:
    """Return the path under which Milvus Lite opens a database: its own, or the folder of links if there is one."""
    return os.path.join(_mirrors[path].folder.name, os.path.basename(path)) if path in _mirrors else path


def open_mirror(path: str) -> str:
    """Create the folder of links, and return its path. No other process can open the database for writing meanwhile.

    Raises:
        StoreError: a file cannot be read, or another process has the database open for writing.
    """
    folder = tempfile.TemporaryDirectory(prefix="image-search-", ignore_cleanup_errors=True)
    try:
        lock = _share_lock(Path(path, _LOCK))
        _link_files(path, os.path.join(folder.name, os.path.basename(path)))
    except OSError as error:
        folder.cleanup()
        raise StoreError(f"{error.filename or path} cannot be read: {error.strerror}") from error
    _mirrors[path] = _Mirror(folder, lock)
    return opened_as(path)


def close_mirror(path: str) -> None:
    """Remove the folder of links, if there is one."""
    if mirror := _mirrors.pop(path, None):
        mirror.folder.cleanup()
        if mirror.lock:
            mirror.lock.close()


def refuse_read_only(path: str) -> None:
    """Raise StoreReadOnly if a database cannot be written."""
    if path in _mirrors or is_read_only(path):
        raise StoreReadOnly(f"{path} cannot be written here: it can be searched, not changed; copy it to change it")


def _share_lock(path: Path) -> IO[bytes] | None:
    try:
        import fcntl
    except ImportError:
        return None
    if not path.exists():
        return None
    lock = open(path, "rb")  # noqa: SIM115 - stays open as long as the mirror
    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return lock


def _link_files(source: str, target: str) -> None:
    def fail(error: OSError) -> None:
        raise error

    for folder, _, names in os.walk(source, onerror=fail):
        inside = os.path.join(target, os.path.relpath(folder, source))
        os.makedirs(inside, exist_ok=True)
        for name in names:
            file, link = os.path.join(folder, name), os.path.join(inside, name)
            if name.endswith(_SEALED):
                os.symlink(file, link)
            elif name != _LOCK:
                shutil.copyfile(file, link)
