"""The collection as it is now: kept open, looked at now and then, and opened again when it changed."""

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

# How long what a server said of the collection is believed. Looking at a Milvus Lite file costs 0.1 ms.
_CHECK_SECONDS = 1.0
# While a collection takes another's place, there is none of its name for a moment.
_EXCHANGE_SECONDS = 1.0


class Present:
    """Keeps one collection open, for several threads. Every method raises what `Searcher` does."""

    def __init__(self, settings: Settings) -> None:
        self._believed = 0.0 if is_lite(settings.uri) else _CHECK_SECONDS
        self._requested = settings
        self._lock = threading.Lock()
        self._opened: Opened | None = None  # None while there is none that can be searched
        self._previous: Opened | None = None
        self._stamp: Stamp | None = None
        self._checked = -math.inf
        self._failure: tuple[float, StoreUnavailable] | None = None  # when the last check ended, and its error
        self._mismatch: tuple[tuple[Stamp, str], ModelMismatch] | None = None  # of the collection as it then was
        self._closed = False

    def get(self) -> Opened:
        """Return what is open, after a look at whether it is still the present collection.

        One thread looks. Those that wait for it share its answer, so that a server that is gone costs each of them no
        more than a single question.
        """
        refuse_fork()  # before a lock that another thread of the parent may have held
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
                if not calls.is_probing():  # a search has more patience
                    self._failure = (time.monotonic(), error)
                raise
            assert self._opened is not None
            return self._opened

    def after(self, error: SearchError) -> Opened:
        """Return the collection after a search of it failed, which may be because it has changed.

        Raises:
            StoreUnavailable: the error, if it says that Milvus is away.
        """
        self._checked = -math.inf
        if isinstance(error, StoreUnavailable):
            raise error
        if isinstance(error, ModelMismatch):
            self._stamp = None
        return self.get()

    def close(self) -> None:
        """Give the Milvus back, and refuse later calls."""
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
            self._watched.describe()  # raises what is wrong; if it came into being just now, the next call finds it
            raise CollectionNotFound(f"there is no collection '{self._watched.name}'")
        if self._opened is None or (stamp != self._stamp and stamp.vector_index):
            if self._stamp is not None and stamp.database != self._stamp.database:
                # Somebody deleted the Milvus Lite file, and this is another one. What is open holds the old one.
                connection.close(self._requested.uri, self._requested.token)
            self._opened = None
            self._opened = self._previous = self._open(stamp)
            self._stamp = stamp
        # Of a file a thread believes only looks that began after it asked.
        self._checked = time.monotonic() if self._believed else start

    def _open(self, stamp: Stamp) -> Opened:
        """Open the collection, unless the named model did not fit it before and it has not changed since."""
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
        """The collection of this name, by the present connection."""
        return Collection(self._requested.uri, self._requested.collection, self._requested.token)
