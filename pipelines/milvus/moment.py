"""A moment of a server's clock: reads at this moment see every write before it, and only the first read has to wait.

A strong read waits for the server's next tick each time, 0.2 s.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from ..errors import StoreError, StoreUnavailable
from .calls import call

if TYPE_CHECKING:
    from pymilvus import MilvusClient


class Moment:
    """The moment at which a collection is read; none until `move` is called. Threads can share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # else the earlier of two moments could be set last
        self._timestamp = 0

    def move(self, client: MilvusClient) -> None:
        """Set the moment to now. If a server does not tell its time, every read waits for the latest writes instead."""
        with self._lock:
            try:
                self._timestamp = call(client._handler.alloc_timestamp)
            except StoreUnavailable:
                raise
            except StoreError:
                self._timestamp = 0

    def follow(self, client: MilvusClient) -> None:
        """Set the moment to now, after a write, if there is a moment at all."""
        if self._timestamp:
            self.move(client)

    def consistency(self) -> dict[str, Any]:
        """Return the options of a strong read."""
        if self._timestamp:
            return {"consistency_level": "Customized", "guarantee_timestamp": self._timestamp}
        return {"consistency_level": "Strong"}
