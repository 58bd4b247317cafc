"""A TCP proxy that simulates a server that vanishes, hangs and comes back."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

from tests.support.program import free_port


class TcpProxy:
    """Forwards connections from a port of its own to 127.0.0.1, until it is told otherwise."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._forwards = threading.Event()
        self._connections: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self.port = free_port()
        self.open()

    def open(self) -> None:
        """Accept connections, and forward the bytes that wait in the existing ones."""
        self._forwards.set()
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def hang(self) -> None:
        """Accept connections and bytes, and answer nothing, as a stopped process does."""
        self._forwards.clear()

    def close(self) -> None:
        """Vanish, as after kill -9: all connections are reset, and new ones are refused."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()
            self._connections.clear()
        self._forwards.set()  # wakes the waiting threads, which find their connection closed

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with self._lock:
                    if self._listener is not listener:
                        client.close()
                        return
                    self._connections.append(client)
                    server = socket.create_connection(("127.0.0.1", self._to))
                    self._connections.append(server)
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                self._forwards.wait()
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
