"""The list of images that could not be used: a CSV `id,path,reason`."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import IO, Any

from ..errors import InputError
from ..sources.source import WHOLE, Row, Shard


def default_file(shard: Shard) -> str:
    """Return the name of the list: shards have a list each, as they may run in the same folder."""
    return "rejected.csv" if shard == WHOLE else f"rejected-{shard.number}-of-{shard.of}.csv"


class RejectFile:
    """A list that is opened at once if a file is named, else with the first image, under the default name.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: str = "", shard: Shard = WHOLE) -> None:
        self._path = Path(path or default_file(shard))
        self._file: IO[str] | None = None
        self._writer: Any = None
        if path:
            self._open()

    @property
    def written_to(self) -> str:
        """The name of the file, '' if nothing was written."""
        return str(self._path) if self._file is not None else ""

    def add(self, row: Row, reason: str) -> None:
        """List one image."""
        if self._file is None:
            self._open()
        # A path that is not UTF-8 keeps its bytes as \xNN.
        self._writer.writerow([row.id, row.path.encode(errors="backslashreplace").decode(), reason])

    def flush(self) -> None:
        """Write what was added to disk: the run may be killed."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Close the file, if it was opened."""
        if self._file is not None:
            self._file.close()

    def _open(self) -> None:
        try:
            self._file = open(  # noqa: SIM115 - open for the whole run
                self._path, "w", newline="", encoding="utf-8", errors="backslashreplace"
            )
        except OSError as error:
            raise InputError(
                f"rejected images cannot be listed in {self._path}: {error.strerror}; name another file with --rejects"
            ) from error
        self._writer = csv.writer(self._file)
        self._writer.writerow(["id", "path", "reason"])
