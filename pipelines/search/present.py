"""Keep a collection open, check whether it changed, and open it again if it did."""

from __future__ import annotations

import copy
import math
import threading
import time

from ..errors import CollectionNotFound, ModelMismatch, SearchError, StoreUnavailable
from ..forks import refuse_fork
from ..milvus import calls, connection
from ..milvus.collection import Collection
from ..milvus.lite import is_lite
from ..milvus.stamp import Stamp, rows_stamp, stamp_of
from ..settings import Settings
from .opened import Opened

# Seconds between two checks of a server's collection. A Milvus Lite file is checked in every call, which takes 0.1 ms.
_CHECK_SECONDS = 1.0
# Seconds to wait for a missing collection: while one replaces another, the name does not exist for a moment.
_EXCHANGE_SECONDS = 1.0


class Present:
    """Keeps one collection open. Threads can share it. Every method raises the same errors as `Searcher`."""

    def __init__(self, settings: Settings) -> None:
        self._believed = 0.0 if is_lite(settings.uri) else _CHECK_SECONDS
        self._requested = settings
        self._lock = threading.Lock()
        self._opened: Opened | None = None  # None while no collection can be searched
        self._previous: Opened | None = None
        self._stamp: Stamp | None = None
        self._checked = -math.inf
        self._failure: tuple[float, StoreUnavailable] | None = None  # when a check last failed, and its error
        self._mismatch: tuple[tuple[Stamp, str], ModelMismatch] | None = None  # the stamps then, and the error
        self._closed = False

    def get(self) -> Opened:
        """Return the open collection, after checking that it is still the current one.

        One thread checks, and the threads that wait for it share the result. If the server cannot be reached, each of
        them therefore waits for a single check only.
        """
        refuse_fork()  # must run before taking a lock that a thread of the parent process may have held
        asked, opened = time.monotonic(), self._opened
        if opened is not None and asked - self._checked < self._believed:
            return opened
        with calls.in_turn(self._lock):
            if self._closed:
                raise SearchError("this Searcher was closed: make another one")
            if self._failure is not None and self._failure[0] > asked:
                raise copy.copy(self._failure[1])
            try:
                if self._opened is None or asked - self._checked >= self._believed:
                    self._check()
            except StoreUnavailable as error:
                if not calls.is_probing():  # a search would wait longer
                    self._failure = (time.monotonic(), error)
                raise
            assert self._opened is not None
            return self._opened

    def after(self, error: SearchError) -> Opened:
        """Return the collection after a failed search; the search may have failed because the collection changed.

        Raises:
            StoreUnavailable: the error itself, if it says that Milvus cannot be reached.
        """
        self._checked = -math.inf
        if isinstance(error, StoreUnavailable):
            raise error
        if isinstance(error, ModelMismatch):
            self._stamp = None
        return self.get()

    def close(self) -> None:
        """Close the connection to Milvus, and refuse later calls."""
        with self._lock:
            self._closed, self._opened, self._previous = True, None, None
            connection.close(self._requested.uri, self._requested.token)

    def _check(self) -> None:
        start = time.monotonic()
        stamp, end = stamp_of(self._watched), start + _EXCHANGE_SECONDS
        while stamp is None and self._opened is not None and time.monotonic() < end:
            time.sleep(0.05)
            stamp = stamp_of(self._watched)
        if stamp is None:
            self._opened = None
            self._watched.describe()  # raises the cause; if it was created just now, the next call finds it
            raise CollectionNotFound(f"there is no collection '{self._watched.name}'")
        if self._opened is None or (stamp != self._stamp and stamp.vector_index):
            if self._stamp is not None and stamp.database != self._stamp.database:
                # The Milvus Lite file was deleted and created again. The open connection still holds the old file.
                connection.close(self._requested.uri, self._requested.token)
            self._opened = None
            self._opened = self._previous = self._open(stamp)
            self._stamp = stamp
        # A thread trusts only a check of the file that started after its own request.
        self._checked = time.monotonic() if self._believed else start

    def _open(self, stamp: Stamp) -> Opened:
        """Open the collection. If it did not fit the named model and has not changed since, raise the same error."""
        if self._mismatch is not None and self._mismatch[0] == (stamp, rows_stamp(self._watched)):
            raise copy.copy(self._mismatch[1])
        self._mismatch = None
        try:
            return Opened(self._requested, self._previous)
        except ModelMismatch as error:
            self._mismatch = (stamp, rows_stamp(self._watched)), error
            raise

    @property
    def _watched(self) -> Collection:
        """The collection of this name, on the current connection."""
        return Collection(self._requested.uri, self._requested.collection, self._requested.token)
