"""A disk cache of bounded size for files that can be made again. It evicts the least recently used files first."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

from pipelines.files import write_atomically

# An eviction shrinks the cache to this share of its limit, so that not every new file causes a scan of the folder.
_KEPT_SHARE = 0.9


class DiskCache:
    """Files by key. Threads and processes can share it: before a process evicts files, it scans the whole folder.

    Args:
        most: maximum bytes of all files together.
    """

    def __init__(self, folder: Path, most: int, suffix: str) -> None:
        self._folder, self._most, self._suffix = folder, most, suffix
        self._lock = threading.Lock()
        self._bytes: int | None = None

    @property
    def size(self) -> int:
        """The bytes of all files, as far as this process knows."""
        with self._lock:
            if self._bytes is None:
                self._bytes = sum(status.st_size for _, status in self._files())
            return self._bytes

    def get(self, key: str) -> bytes | None:
        """Return the content of a file; None if it is not in the cache."""
        with contextlib.suppress(OSError):
            data = self._path(key).read_bytes()
            os.utime(self._path(key), ns=(time.time_ns(), os.stat(self._path(key)).st_mtime_ns))  # records the use
            return data
        return None

    def put(self, key: str, data: bytes) -> None:
        """Store a file. On a full disk it is not cached, which is no error."""
        path, before = self._path(key), self.size
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda part: part.write_bytes(data), is_cache=True)
            with self._lock:
                self._bytes = (self._bytes or 0) + len(data)
        if before + len(data) > self._most:
            self._evict()

    def _evict(self) -> None:
        with self._lock:
            files = sorted(self._files(), key=lambda file: max(file[1].st_atime_ns, file[1].st_mtime_ns))
            self._bytes = sum(status.st_size for _, status in files)
            for path, status in files:
                if self._bytes <= self._most * _KEPT_SHARE:
                    break
                with contextlib.suppress(OSError):
                    os.unlink(path)
                    self._bytes -= status.st_size

    def _files(self) -> list[tuple[str, os.stat_result]]:
        found = []
        for folder, _, names in os.walk(self._folder):
            for name in names:
                path = os.path.join(folder, name)
                with contextlib.suppress(OSError):  # another process may have removed it
                    found.append((path, os.stat(path)))
        return found

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}{self._suffix}"
