"""A Milvus Lite file: its path, why it cannot be opened, and protection from corruption and a full disk."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError, StoreError, StoreFull, StoreLocked
from .lite_mirror import opened_as, refuse_read_only

# Space for what Milvus Lite writes at once: a few sealed tables of 8 MB, and one of up to 100 MB into which they merge.
MIN_FREE_BYTES = 256 << 20

# Milvus Lite has no lock between writers (its own server.py says "single writer"), so this lock keeps them apart.
_write_lock = threading.RLock()
_full: set[str] = set()
# Command-line options of other processes whose values must not be shown.
_SECRET = re.compile(r"(--[a-z-]*(?:auth|token)[= ])\S+")


def is_lite(uri: str | os.PathLike[str]) -> bool:
    """Return True for a Milvus Lite file, False for a server's address."""
    return "://" not in os.fspath(uri)


def lite_path(uri: str) -> str:
    """Return the absolute path of a Milvus Lite file.

    Raises:
        InputError: Milvus Lite does not accept this file name.
    """
    if not uri.endswith(".db"):
        raise InputError(
            f"'{uri}' is no Milvus: give a file name ending in .db or an address like http://localhost:19530"
        )
    return os.path.realpath(os.path.expanduser(uri))


def check_openable(path: Path) -> None:
    """Detect what Milvus Lite would report only as 'Open local milvus failed'.

    Raises:
        StoreLocked: another process has the file open.
        StoreError: this is not a database of this version of Milvus Lite.
    """
    if path.is_file():
        kind = "made by Milvus Lite 2" if path.read_bytes()[:15] == b"SQLite format 3" else "no Milvus Lite database"
        raise StoreError(f"{path} is {kind}; move it away or choose another file")
    lock = path / "LOCK"
    if not lock.exists():
        return
    try:
        import fcntl
    except ImportError:  # Windows has no such locks: Milvus Lite's own message has to do
        return
    with open(lock, "rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid, command = _lock_owner(lock)
            if pid == os.getpid():
                raise StoreLocked(
                    f"{path} is open in this process already, by other means than pymilvus: close it there first"
                ) from None
            raise StoreLocked(
                f"{path} is open in another process{command}: stop that process, or use a Milvus server, which several "
                "processes can share; a search page indexes by itself (serve SOURCE --watch, or Add images on the page)"
            ) from None


@contextmanager
def writing(uri: str, *, takes_space: bool = True) -> Iterator[None]:
    """Hold the write lock of a Milvus Lite file during a write. Does nothing for a server.

    After a write has failed on a full disk, this process writes no more: the next successful flush of Milvus Lite 3.2
    would delete the log that holds the rows of the failed write. Opening the file again restores these rows.

    Args:
        takes_space: False for a write that frees space.

    Raises:
        StoreFull: the disk is full, or about to be.
        StoreReadOnly: the file cannot be written.
    """
    if not is_lite(uri):
        yield
        return
    path = lite_path(uri)
    refuse_read_only(path)
    with _write_lock:
        if takes_space:
            _check_free_space(path)
        try:
            yield
        except StoreFull:
            _full.add(path)
            raise


def forget_full_disk(path: str) -> None:
    """Allow writes again after a Milvus Lite file was closed: opening it reads its log again."""
    _full.discard(path)


def delete_index_files(uri: str, collection: str) -> int:
    """Delete a collection's index files, which Milvus Lite rebuilds from the rows; return their number."""
    files = list(Path(opened_as(lite_path(uri)), "collections", collection).glob("partitions/*/indexes/*"))
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)


def check_room_for_copy(uri: str, collection: str) -> None:
    """Check that a Milvus Lite file has room for a second copy of a collection. Does nothing for a server.

    Raises:
        StoreFull: it does not have enough.
    """
    if not is_lite(uri):
        return
    path = Path(lite_path(uri))
    needed = sum(file.stat().st_size for file in (path / "collections" / collection).rglob("*") if file.is_file())
    free = shutil.disk_usage(path.parent).free
    if free < needed + MIN_FREE_BYTES:
        raise StoreFull(
            f"collection '{collection}' has to be copied once, which takes {needed + MIN_FREE_BYTES >> 20:,} MB, and "
            f"only {free >> 20:,} are free under {path}: free some space and run the same command again"
        )


def _check_free_space(path: str) -> None:
    remedy = "free some space and run the same command again; what was counted as stored is safe"
    if path in _full:
        raise StoreFull(f"the disk under {path} is full: {remedy}")
    free = shutil.disk_usage(Path(path).parent).free
    if free < MIN_FREE_BYTES:
        raise StoreFull(
            f"only {free >> 20:,} MB are free under {path}, and Milvus Lite needs {MIN_FREE_BYTES >> 20}: {remedy}"
        )


def _lock_owner(lock: Path) -> tuple[int, str]:
    """Return, for example, 123 and ' (pid 123: python -m app)' if the kernel shows it (Linux), else 0 and ''."""
    try:
        inode = str(lock.stat().st_ino)
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].rsplit(":", 1)[-1] == inode:
                command = Path(f"/proc/{fields[4]}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                command = _SECRET.sub(r"\1…", command).strip()[:80]
                return int(fields[4]), f" (pid {fields[4]}: {command})"
    except (OSError, IndexError, ValueError):
        pass
    return 0, ""
