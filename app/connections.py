"""Limit how long a client may take to send a request or read its answer, and how many connections may be open.

uvicorn waits forever for the rest of a request. Among other servers, hypercorn has a deadline, but accepts connections
until no file descriptor is left; granian has a deadline for headers only.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 1_000
_LONGEST_BACKLOG = 64
# A connection takes up to three descriptors: the socket, the file of the body, and one for the handler of the request.
_DESCRIPTORS_EACH = 3
_HEADER_SECONDS = 10.0
# Seconds for a body to arrive or an answer to be read, plus one second for each _BYTES_PER_SECOND bytes. Apache's
# mod_reqtimeout uses the same formula with 20 s and 500 bytes. 16 kB a second is the speed of a modem.
_BODY_SECONDS, _BYTES_PER_SECOND = 20.0, 16_000
_SWEEP_SECONDS = 1.0


def most_connections() -> int:
    """Return how many connections may be open, given this process's limit of descriptors."""
    try:
        import resource
    except ImportError:  # on Windows, where sockets take no descriptors
        return MOST_CONNECTIONS
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if descriptors < 0 else max(8, min(MOST_CONNECTIONS, descriptors // _DESCRIPTORS_EACH))


def backlog() -> int:
    """Return how many connections may wait to be accepted. asyncio accepts all of them before it can close one."""
    return min(_LONGEST_BACKLOG, most_connections() // 4)


def protocol(most: int) -> type[H11Protocol]:
    """Return a protocol class for one uvicorn server, with these limits."""
    connections = _Connections(most)

    class Bounded(BoundedProtocol):
        shared = connections

    return Bounded


class _Connections:
    """All open connections of a server."""

    def __init__(self, most: int) -> None:
        self._most, self._open = most, set[BoundedProtocol]()
        self._sweeping = False

    def add(self, connection: BoundedProtocol) -> None:
        """Add a connection. Above the limit, close the one whose client has kept the server waiting longest.

        A client keeps the server waiting until it has sent its whole request, or has read its answer.
        """
        if not self._sweeping:
            self._sweeping = True
            self._sweep(connection.loop)
        self._open.add(connection)
        if len(self._open) > self._most:
            self._end(self._victim(connection))

    def _victim(self, new: BoundedProtocol) -> BoundedProtocol:
        """Return the connection to close: one of the address that has more than half of all, else one of any address.

        If many connections arrive at the same moment, another client's request may have arrived and not been read yet.
        Its connection must stay open.
        """
        ((most, count),) = Counter(one.host for one in self._open).most_common(1)
        others = self._open - {new}
        own = [one for one in others if one.host == most]
        asked = own if 2 * count > len(self._open) else others
        if waiting := [(one.waits_since, id(one), one) for one in asked if one.waits_since is not None]:
            return min(waiting)[2]
        return new if new.host == most else min((one.began, id(one), one) for one in own)[2]

    def discard(self, connection: BoundedProtocol) -> None:
        self._open.discard(connection)

    def _end(self, connection: BoundedProtocol) -> None:
        self._open.discard(connection)
        connection.transport.abort()

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        for connection in [one for one in self._open if one.is_late(loop.time())]:
            self._end(connection)
        loop.call_later(_SWEEP_SECONDS, self._sweep, loop)


class BoundedProtocol(H11Protocol):
    """One connection."""

    shared: _Connections

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.began = self.loop.time()  # when the server began to wait for the current request
        self._received = 0  # bytes of the current request
        self._unread_since: float | None = None  # when the client fell behind in reading its answer; None if it did not
        self._unread = 0  # bytes of the answer that were unread at that time

    @property
    def host(self) -> str:
        """The address of the client, or of its proxy."""
        return self.client[0] if self.client else ""

    @property
    def waits_since(self) -> float | None:
        """When the server began to wait for the client to send its request or read its answer; None if it is not."""
        if self._unread_since is not None:
            return self._unread_since
        return self.began if self.conn.their_state in (h11.IDLE, h11.SEND_BODY) else None

    def is_late(self, now: float) -> bool:
        """Whether the client takes too long to send its request or to read its answer."""
        if self._unread_since is not None:
            allowed = _BODY_SECONDS + self._unread / _BYTES_PER_SECOND
        elif self.conn.their_state is h11.SEND_BODY:
            allowed = _HEADER_SECONDS + _BODY_SECONDS + self._received / _BYTES_PER_SECOND
        else:
            allowed = _HEADER_SECONDS
        return self.waits_since is not None and now - self.waits_since > allowed

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.shared.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.shared.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)

    def on_response_complete(self) -> None:
        self.began, self._received = self.loop.time(), 0
        super().on_response_complete()

    def pause_writing(self) -> None:
        self._unread_since, self._unread = self.loop.time(), self.transport.get_write_buffer_size()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._unread_since = None
        super().resume_writing()
