"""A local server for downloads of weights: plain files with ranges, and the endpoints of the Hugging Face hub."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import re
import threading
from types import TracebackType
from typing import NamedTuple

STEP = 1 << 16


class Request(NamedTuple):
    """A request that a client made."""

    method: str
    path: str
    range: str | None
    token: str | None


class HubServer(http.server.ThreadingHTTPServer):
    """Serves `data` at every path or, if `files` has entries, only those files by their names.

    The hub addresses files as `/REPOSITORY/resolve/REVISION/FILE`. Its answers carry the commit, and for a large file
    the SHA-256 of its content as ETag.
    """

    daemon_threads = True

    def __init__(self, data: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.data = data
        self.files: dict[str, bytes] = {}
        self.etag = ""  # sent in place of the SHA-256 of the data, unless empty
        self.commit = "c0ffee" * 6 + "0000"
        self.requests: list[Request] = []
        self.knows_ranges = True
        self.status = 200
        self.cut_after = 0  # byte at which the next answer is cut off and its connection closed, once
        self.slow = False
        self.token = ""  # the token that a client must send
        self.url = f"http://127.0.0.1:{self.server_port}"

    @property
    def ranges(self) -> list[str | None]:
        """The `Range` header of every GET request."""
        return [request.range for request in self.requests if request.method == "GET"]

    def __enter__(self) -> HubServer:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None = None, error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:  # fmt: skip
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: HubServer

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        server, wanted = self.server, self.headers.get("Range")
        data = server.files.get(self.path.rpartition("/")[2]) if server.files else server.data
        server.requests.append(Request(self.command, self.path, wanted, self.headers.get("Authorization")))
        if server.status != 200 or data is None:
            self.send_response(404 if data is None else server.status)
            self.send_header("X-Repo-Commit", server.commit)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if server.token and self.headers.get("Authorization") != f"Bearer {server.token}":
            self.send_error(401)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and server.knows_ranges else 0
        size = len(data)
        if start >= size:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(size - start))
        self.send_header("ETag", f'"{server.etag or hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", server.commit)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        if with_body:
            self._send(data, start)
        self.close_connection = True

    def _send(self, data: bytes, start: int) -> None:
        end = self.server.cut_after or len(data)
        self.server.cut_after = 0
        with contextlib.suppress(ConnectionError):
            for at in range(start, end, STEP):
                self.wfile.write(data[at : min(at + STEP, end)])
                if self.server.slow:
                    threading.Event().wait(0.05)

    def log_message(self, *args: object) -> None:
        """Print nothing."""
