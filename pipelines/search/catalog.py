"""Keep a collection's columns in memory and read them again when its rows change."""

from __future__ import annotations

import copy
import threading
import time
from typing import NamedTuple

from ..errors import ColumnsAwaited, SearchError
from ..fields import ID, KEY, PATH, Field, FieldType
from ..milvus.calls import seconds_for_columns
from ..milvus.collection import Collection
from ..milvus.column_reader import read_columns
from ..milvus.lite import is_lite
from ..milvus.stamp import rows_stamp
from .column_table import ColumnTable

# Seconds between two checks of whether the rows on a server changed.
_CHECK_SECONDS = 30.0
# Milvus Lite's columns are read again within the request if that takes fewer seconds; all others in a thread.
_WORTH_WAITING = 0.25
# The thread reads again only after this many times the duration of the last read.
_SHARE = 10
# A server does not report updates before they are flushed. So its columns are read again after _OLDEST_SECONDS even
# without a reported change, but not before _UNASKED_SHARE times the duration of the last read.
_OLDEST_SECONDS = 300.0
_UNASKED_SHARE = 60


class Held(NamedTuple):
    """The columns, and the seconds since they were last known to be up to date."""

    table: ColumnTable
    age: float


class Catalog:
    """Reads the columns on first use. Threads can share it."""

    def __init__(self, collection: Collection, fields: tuple[Field, ...], keys: bool) -> None:
        self._collection, self._fields, self._keys = collection, fields, keys
        self._is_lite = is_lite(collection.uri)
        self._lock = threading.Lock()
        self._table: ColumnTable | None = None
        self._stamp = ""
        self._checked = self._read_at = self._cost = 0.0
        self._reading: threading.Thread | None = None
        self._failure: SearchError | None = None
        self._progress = (0, 0)  # rows received from a server, and its number of rows

    def held(self) -> Held:
        """Return the columns. Changes are noticed at once on Milvus Lite, within half a minute on a server.

        While a slow read is in progress, the old columns are returned, with their age. Updates that a server has not
        flushed are missing for up to five minutes, or sixty times the duration of a read if that is longer.

        Raises:
            StoreError: Milvus cannot be reached.
            ColumnsAwaited: Milvus has not sent the first columns within the time that `patience` allows.
        """
        with self._lock:
            now = time.monotonic()
            if self._table is None:
                if not (self._reading and self._reading.is_alive()):
                    self._read_first(rows_stamp(self._collection))
            elif self._is_lite or now - self._checked >= _CHECK_SECONDS:
                self._renew(rows_stamp(self._collection), now)
            reading = self._reading
        if self._table is None and reading:
            reading.join(seconds_for_columns())
        if self._table is None:
            raise copy.copy(self._failure) if self._failure else self._late()
        return Held(self._table, time.monotonic() - self._checked)

    def check(self) -> None:
        """Raise ColumnsAwaited if the first columns are still being read; do not wait for them."""
        if self._table is None and self._reading and self._reading.is_alive():
            raise self._late()

    def _late(self) -> ColumnsAwaited:
        done, rows = (f"{number:,}" for number in self._progress)
        message = f"Milvus is sending what images are ordered and counted by: {done} of {rows}; try again in a moment"
        late = ColumnsAwaited(message, "error_columns", done=done, rows=rows)
        late.progress = self._progress
        return late

    def _note_progress(self, done: int, rows: int) -> None:
        self._progress = done, rows

    def _read_first(self, stamp: str) -> None:
        if self._is_lite:
            self._read(stamp)
        else:  # in a thread: the limits of a request are for single answers
            self._start_reading(stamp)

    def _renew(self, stamp: str, now: float) -> None:
        oldest = max(_OLDEST_SECONDS, _UNASKED_SHARE * self._cost)
        if stamp == self._stamp and (self._is_lite or now - self._read_at < oldest):
            self._checked = time.monotonic()
        elif self._is_lite and self._cost < _WORTH_WAITING:
            self._read(stamp)
        elif not (self._reading and self._reading.is_alive()) and now - self._read_at > _SHARE * self._cost:
            self._start_reading(stamp)

    def _start_reading(self, stamp: str) -> None:
        self._reading = threading.Thread(target=self._read_behind, args=[stamp], daemon=True)
        self._reading.start()

    def _read_behind(self, stamp: str) -> None:
        try:
            self._failure = None
            self._read(stamp)
        except SearchError as error:
            self._failure = error

    def _read(self, stamp: str) -> None:
        start = time.monotonic()
        path = Field(PATH, FieldType.TEXT, key=self._collection.path_key)
        own = (Field(ID, FieldType.INT, key=ID), *((Field(KEY, FieldType.TEXT, key=KEY),) if self._keys else ()))
        cells = read_columns(self._collection, (*own, path, *self._fields), self._note_progress)
        table = ColumnTable(cells, path, self._fields, self._keys)
        if self._table is not None:
            table.prepare(self._table)
        self._table, self._stamp, self._checked = table, stamp, start
        self._read_at = time.monotonic()
        self._cost = self._read_at - start
