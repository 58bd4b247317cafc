"""The list of images that a run could not use: what it may overwrite, what it keeps, and when it is removed."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import InputError
from ..fields import SOURCE
from ..files import write_atomically
from ..milvus.schema import split_sources
from ..sources.reject_list import HEADER, Rejected, read_rejects
from ..sources.source import WHOLE, Row, Shard

_HEADER_LINE = ",".join(HEADER).encode() + b"\r\n"


class RejectFile:
    """A CSV `id,path,reason,source`, created with the first image that cannot be used.

    A row from an earlier run stays until a run has looked at it again or its source no longer lists it. A list without
    any rows is removed. By default each shard has its own list, because shards may run in the same folder.

    Args:
        path: '' for `rejected.csv`.
        source: name of the source whose rows are added, '' if it has none.

    Raises:
        InputError: the file cannot be written, is the source itself, or is not a list by this program.
    """

    def __init__(self, path: str = "", source: str = "", shard: Shard = WHOLE) -> None:
        self._source = source
        part = "" if shard == WHOLE else f"-{shard.number}-of-{shard.of}"
        self._path = path or f"rejected{part}.csv"
        self._earlier = self._read()
        if os.path.exists(self._path) and os.path.exists(source) and os.path.samefile(self._path, source):
            if path:
                raise InputError(f"{path} is the source itself: name another file with --rejects")
            self._path = f"rejected-again{part}.csv"
            self._earlier = self._read()
        # For a link, its target is written. A device is opened by its own name: /dev/stdout may not lead to a file.
        self._real = Path(self._path if self._is_device() else os.path.realpath(self._path))
        self._unseen = {(row.source, row.id) for row in self._earlier}
        self._pending: list[Rejected] = []
        self._own_start = 0  # byte offset of this run's rows in the file, 0 before the first

    @property
    def written_to(self) -> str:
        """The name of the file, '' if this run listed nothing."""
        return self._path if self._own_start else ""

    def add(self, row: Row, reason: str) -> None:
        """List one image."""
        # A path that is not UTF-8 keeps its bytes as \xNN.
        path = row.path.encode(errors="backslashreplace").decode()
        self._pending.append(Rejected(row.shown_id, path, reason, self._source_of(row)))

    def look_at(self, rows: Iterable[Row]) -> None:
        """Note that the run has looked at these rows, so that an earlier run's reasons no longer hold."""
        if self._unseen:
            for row in rows:
                self._unseen -= {(self._source_of(row), row.shown_id), ("", row.shown_id)}

    def flush(self) -> None:
        """Write what was added, because the run may be killed."""
        if not self._pending:
            return
        try:
            if not self._own_start:
                self._own_start = self._rewrite(self._earlier)
            with open(self._real, "ab", buffering=0) as file:  # in one write, so that a kill leaves whole rows
                file.write(_lines(self._pending))
        except OSError as error:
            raise InputError(f"rejected images cannot be listed in {self._path}: {error.strerror}") from error
        self._pending = []

    def finish(self, is_whole: bool) -> None:
        """Remove outdated rows at the end of a run. `is_whole`: it has looked at every row of its source."""
        self.flush()
        if is_whole and self._source:
            self._unseen = {key for key in self._unseen if key[0] != self._source}
        kept = [row for row in self._earlier if (row.source, row.id) in self._unseen]
        if len(kept) == len(self._earlier):
            return
        try:
            if kept or self._own_start:
                self._rewrite(kept, self._real.read_bytes()[self._own_start :] if self._own_start else b"")
            else:
                self._real.unlink()
        except OSError as error:
            raise InputError(f"the list {self._path} cannot be brought up to date: {error.strerror}") from error

    def _read(self) -> list[Rejected]:
        """The rows of an earlier list."""
        path, advice = Path(self._path), "name another file with --rejects"
        folder = path.resolve().parent
        if path.is_dir() or not folder.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
            raise InputError(f"rejected images cannot be listed in {path}: it cannot be written; {advice}")
        if not path.is_file() or not path.stat().st_size:  # new, empty, or a device such as /dev/null
            return []
        rows = read_rejects(path)
        if rows is None:
            raise InputError(f"{path} is no list of rejected images by this program, and stays as it is: {advice}")
        return rows

    def _source_of(self, row: Row) -> str:
        return next(iter(split_sources(str(row.fields.get(SOURCE, self._source)))), "")

    def _is_device(self) -> bool:
        return os.path.exists(self._path) and not os.path.isfile(self._path)

    def _rewrite(self, rows: Iterable[Rejected], more: bytes = b"") -> int:
        """Write a list of these rows, followed by `more` rows as bytes. Return the number of bytes."""
        content = _HEADER_LINE + _lines(rows) + more
        if self._is_device():
            self._real.write_bytes(content)
        else:
            write_atomically(self._real, lambda part: part.write_bytes(content))
        return len(content)


def _lines(rows: Iterable[Rejected]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode(errors="backslashreplace")
