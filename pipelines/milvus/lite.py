"""What protects a Milvus Lite file: one writer at a time, an end before the disk is full, repair of what is derived."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import StoreFull
from .connection import is_lite, normalise_uri

# Room for what Milvus Lite writes at once: a few sealed tables of 8 MB, and their merger into one of up to 100 MB.
MIN_FREE_BYTES = 256 << 20

# Milvus Lite has no lock between writers (its own server.py says "single writer"), so there is one here.
_write_lock = threading.RLock()
_full: set[str] = set()


@contextmanager
def writing(uri: str, *, takes_space: bool = True) -> Iterator[None]:
    """Holds the write lock round a write, which `takes_space` or frees it.

    After a write that failed for want of space nothing more is written by this process: Milvus Lite 3.2 would, with
    its next successful flush, delete the log that holds the rows of the failed one. They come back when it is
    opened again.

    Raises:
        StoreFull: the disk is full, or about to be.
    """
    if not is_lite(uri):
        yield
        return
    path = normalise_uri(uri)
    with _write_lock:
        if takes_space:
            _refuse_full(path)
        try:
            yield
        except StoreFull:
            _full.add(path)
            raise


def _refuse_full(path: str) -> None:
    again = "free some space and run the same command again; what was counted as stored is safe"
    if path in _full:
        raise StoreFull(f"the disk under {path} is full: {again}")
    free = shutil.disk_usage(Path(path).parent).free
    if free < MIN_FREE_BYTES:
        raise StoreFull(
            f"only {free >> 20:,} MB are free under {path}, and Milvus Lite needs {MIN_FREE_BYTES >> 20}: {again}"
        )


def reopened(path: str) -> None:
    """Called when a Milvus Lite file was closed: the next opening reads its log again."""
    _full.discard(path)


def delete_index_files(uri: str, collection: str) -> int:
    """Deletes a collection's index files, which Milvus Lite builds again from the rows; returns how many there were."""
    files = list(Path(normalise_uri(uri), "collections", collection).glob("partitions/*/indexes/*"))
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)
