"""Tell which stored files are gone. A file that merely cannot be seen now is kept.

A local file is gone if the deepest existing folder above it can be listed, does not hold it, and is on the disk that
held the file when it was indexed. While that disk is not mounted, no file of it is gone. A remote file is gone if its
server answers 404 or 410, or if the listing of its object store lacks it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..fetch.presence import GONE, PRESENT, UNMOUNTED, Presence
from ..fetch.read import is_remote
from ..fields import ID, PATH
from ..milvus import schema
from ..milvus.collection import Collection
from ..milvus.literals import text_literal

LOOKS = 32  # files looked for at the same time, as many as images are fetched
_SAMPLE_ROWS = 1000
MAYBE_MOVED = "they may be files that have moved, and are still being written"


class GoneFiles:
    """Looks for the files of stored rows.

    Rows need PATH, SOURCE and, since version 2, DEVICE; with `keep_moved` also MTIME_NS and SIZE.
    """

    def __init__(self, collection: Collection, allow_private: bool = False) -> None:
        self._collection = collection
        self._presence = Presence(allow_private)
        self._devices: dict[tuple[int, str], set[int]] = {}
        self._noted: dict[int, set[int]] = {}
        self._moved: set[tuple[int, int]] = set()

    def note_device(self, stored: int, now: int) -> None:
        """Note that a file stored with one st_dev now has another one. The run may overwrite the stored one."""
        self._noted.setdefault(stored, set()).add(now)

    def keep_moved(self, files: Iterable[Mapping[str, Any]]) -> None:
        """Keep rows whose files may have moved and become one of these, which have not been read yet."""
        self._moved |= {(file[schema.MTIME_NS], file[schema.SIZE]) for file in files}

    def states(self, rows: Iterable[Mapping[str, Any]]) -> dict[int, str]:
        """Return id → GONE, PRESENT or the reason why the file counts as neither."""
        rows = list(rows)
        with ThreadPoolExecutor(LOOKS, thread_name_prefix="look") as pool:
            found = pool.map(self._presence.look, [row[PATH] for row in rows])
            return {row[ID]: self._judge(row, *look) for row, look in zip(rows, found, strict=True)}

    def state(self, row: Mapping[str, Any], new_path_device: int = -1) -> str:
        """Return the state of one row.

        Args:
            new_path_device: st_dev of a file with the same content. If it lies on the disk that held the row's file,
                that disk is mounted, perhaps elsewhere, and the row's file is no longer where it was.
        """
        state, device = self._presence.look(row[PATH])
        if state == GONE and -1 != new_path_device == row.get(schema.DEVICE, -1):
            return GONE
        return self._judge(row, state, device)

    def has_source(self, name: str, row: Mapping[str, Any]) -> bool:
        """Return whether a source of a row exists or may exist."""
        state, device = self._presence.look(name)
        held_the_file = row[PATH].startswith(os.path.join(name, ""))
        return (self._judge(row, state, device) if held_the_file else state) != GONE

    def _judge(self, row: Mapping[str, Any], state: str, device: int) -> str:
        if state != GONE or is_remote(row[PATH]):
            return state
        if (row.get(schema.MTIME_NS), row.get(schema.SIZE)) in self._moved:
            return MAYBE_MOVED
        stored = row.get(schema.DEVICE, -1)
        if device == stored != -1:
            return GONE
        # A disk can have another number after a restart. Other files stored with the old number then tell the new one.
        return GONE if device in self._devices_now(stored, row[schema.SOURCE]) else UNMOUNTED

    def _devices_now(self, stored: int, source: str) -> set[int]:
        """Return the present devices of files that were stored with this one; with -1, of all files of the source."""
        key = (stored, source if stored == -1 else "")
        if key not in self._devices:
            other_rows = f"{schema.SOURCE} == {text_literal(source)}"
            expression = other_rows if stored == -1 else f"{schema.DEVICE} == {stored}"
            rows = self._collection.query(expression, [PATH], limit=_SAMPLE_ROWS)
            found = (self._presence.look(row[PATH]) for row in rows if not is_remote(row[PATH]))
            self._devices[key] = {device for state, device in found if state == PRESENT}
        return self._devices[key] | (self._noted.get(stored, set()) if stored != -1 else set())
