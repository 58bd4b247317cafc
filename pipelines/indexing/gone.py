"""Which stored files are gone. A file that only cannot be seen now is kept.

A local file is gone if the lowest folder above it that is left can be listed, does not hold it, and lies on the disk
that held the file when it was indexed: under a mount point without its disk nothing is gone. A remote one is gone if
its server answers 404 or 410, or if the listing of its object store lacks it.
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

LOOKS = 32  # at the same time, as images are fetched
_SAMPLE_ROWS = 1000
MAYBE_MOVED = "they may be files that have moved, and are still being written"


class GoneFiles:
    """Looks for the files of stored rows.

    They have PATH, SOURCE and, since version 2, DEVICE; MTIME_NS and SIZE, too, where `keep_moved` is used.
    """

    def __init__(self, collection: Collection, allow_private: bool = False) -> None:
        self._collection = collection
        self._presence = Presence(allow_private)
        self._devices: dict[tuple[int, str], set[int]] = {}
        self._noted: dict[int, set[int]] = {}
        self._moved: set[tuple[int, int]] = set()

    def note_device(self, stored: int, now: int) -> None:
        """Note that a file that lay on a disk with one number is found on one with another: what is stored changes."""
        self._noted.setdefault(stored, set()).add(now)

    def keep_moved(self, files: Iterable[Mapping[str, Any]]) -> None:
        """Keep the rows of files that may have become one of these, which nobody has read yet."""
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
        """Return whether a source of a row is there, or may be."""
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
        # A disk can have another number after a restart: then other rows with the old number tell the new one.
        return GONE if device in self._devices_now(stored, row[schema.SOURCE]) else UNMOUNTED

    def _devices_now(self, stored: int, source: str) -> set[int]:
        """Return on which devices files are found now that lay on this one; with -1, all files of the same source."""
        key = (stored, source if stored == -1 else "")
        if key not in self._devices:
            other_rows = f"{schema.SOURCE} == {text_literal(source)}"
            expression = other_rows if stored == -1 else f"{schema.DEVICE} == {stored}"
            rows = self._collection.query(expression, [PATH], limit=_SAMPLE_ROWS)
            found = (self._presence.look(row[PATH]) for row in rows if not is_remote(row[PATH]))
            self._devices[key] = {device for state, device in found if state == PRESENT}
        return self._devices[key] | (self._noted.get(stored, set()) if stored != -1 else set())
