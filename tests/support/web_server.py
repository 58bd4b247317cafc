"""A web server for tests: it serves images, and misbehaves in every way that servers do."""

from __future__ import annotations

import gzip
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

MIB = 1 << 20


class WebServer:
    """Serves `/files/…` from `files`, and the misbehaviours below; counts requests and the most that ran at once."""

    def __init__(self, host: str = "127.0.0.1", delay: float = 0.0) -> None:
        self.files: dict[str, bytes] = {}
        self.delay = delay
        self.requests: Counter[str] = Counter()
        self.hosts: list[str] = []
        self.secrets: list[str] = []  # the credentials of each request
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.server = _Server((host, 0), _Handler)
        self.server.owner = self
        self.url = f"http://{host}:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __enter__(self) -> WebServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    owner: WebServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: several tests hang up on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        owner = self.server.owner
        with owner.lock:
            owner.requests[self.path] += 1
            owner.hosts.append(self.headers.get("Host", ""))
            owner.secrets.append(self.headers.get("Authorization", "") + self.headers.get("Cookie", ""))
            owner.at_once += 1
            owner.most_at_once = max(owner.most_at_once, owner.at_once)
        try:
            self._answer(self.path.strip("/").split("/"))
        finally:
            with owner.lock:
                owner.at_once -= 1

    def _answer(self, parts: list[str]) -> None:
        what, rest = parts[0], parts[1:]
        owner = self.server.owner
        if what == "files":
            time.sleep(owner.delay)
            body = owner.files.get("/".join(rest))
            self._send(body if body is not None else b"<html>", 200 if body is not None else 404)
        elif what == "status":
            self._send(b"", int(rest[0]), **({"Retry-After": rest[1]} if rest[1:] else {}))
        elif what == "redirects":
            count = int(rest[0])
            self._send(b"", 302, Location=f"/redirects/{count - 1}" if count > 1 else "/files/ok")
        elif what == "to":
            self._send(b"", 302, **{"Location": rest[0].replace("|", "/"), "Set-Cookie": "a=b; Path=/"})
        elif what == "busy":  # only the first request
            first = owner.requests[self.path] == 1
            self._send(b"" if first else owner.files["ok"], 503 if first else 200)
        elif what == "gzip":
            self._send(gzip.compress(owner.files["ok"]), Encoding="gzip")
        elif what == "wrong-gzip":
            self._send(b"no gzip", Encoding="gzip")
        elif what == "html":
            self._send(b"<!DOCTYPE html><html><body>please log in</body></html>")
        elif what == "gzip-bomb":
            self._send(gzip.compress(bytes(80 * MIB), 1), Encoding="gzip")
        else:
            self._misbehave(what)

    def _misbehave(self, what: str) -> None:
        self.close_connection = True
        if what == "announces-much":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
        elif what == "sends-much":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(80):
                self.wfile.write(b"100000\r\n" + bytes(MIB) + b"\r\n")
        elif what == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n1234567890")
        elif what == "hangs-up":
            pass
        elif what == "silent":
            time.sleep(8)
        elif what == "drips":  # the head, a byte at a time: no single read waits long
            for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 60:
                self.wfile.write(bytes([byte]))
                time.sleep(0.1)
        elif what == "trickles":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n")
            for _ in range(60):
                self.wfile.write(b"x")
                time.sleep(0.1)

    def _send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header({"Encoding": "Content-Encoding"}.get(name, name), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
