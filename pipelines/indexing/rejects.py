"""The list of images that could not be used: a CSV `id,path,reason`."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import IO, Any

from ..errors import InputError
from ..sources.source import Row

DEFAULT_FILE = "rejected.csv"


class RejectFile:
    """Opened when a file is named, else with the first rejected image, under the default name."""

    def __init__(self, path: str = "", default: str = DEFAULT_FILE) -> None:
        self._path = Path(path or default)
        self._file: IO[str] | None = None
        self._writer: Any = None
        if path:
            self._open()

    @property
    def written_to(self) -> str:
        """The file's name, '' if there was nothing to write."""
        return str(self._path) if self._file is not None else ""

    def add(self, row: Row, reason: str) -> None:
        """Lists one image; on disk at once, for a run that is killed."""
        if self._file is None:
            self._open()
        # A path that is not UTF-8 keeps its bytes as \xNN.
        self._writer.writerow([row.id, row.path.encode(errors="backslashreplace").decode(), reason])

    def flush(self) -> None:
        """Puts what was added on disk."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Closes the file, if there is one."""
        if self._file is not None:
            self._file.close()

    def _open(self) -> None:
        try:
            self._file = open(  # noqa: SIM115 - open for the whole run
                self._path, "w", newline="", encoding="utf-8", errors="backslashreplace"
            )
        except OSError as error:
            raise InputError(
                f"rejected images cannot be listed in {self._path}: {error.strerror}; name another with --rejects"
            ) from error
        self._writer = csv.writer(self._file)
        self._writer.writerow(["id", "path", "reason"])
