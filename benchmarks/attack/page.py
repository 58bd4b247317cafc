"""A page under attack: its process, a client that searches meanwhile, and requests sent by an attacker."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .. import hostile_files
from ..harness import photographs, write_table

AUTH = "ann:secret-of-ann"
DESCRIPTORS = 256
ATTACKER = "127.0.0.66"  # not the address of the client that searches
_KEY = {"Authorization": "Basic " + base64.b64encode(AUTH.encode()).decode()}
KEY_LINE = f"Authorization: {_KEY['Authorization']}\r\n".encode()
_START_SECONDS = 120
KINDS = ("search", "image", "probe")


def _image(seed: int) -> bytes:
    """Return a search by an image, large enough that it has to wait its turn among other request bodies."""
    data = hostile_files.encoded("PNG", hostile_files.sample_image(320, 240, seed))
    return json.dumps({"parts": [{"image": base64.b64encode(data).decode()}]}).encode()


class Answer(NamedTuple):
    """The response to a request; status 0 if the connection broke or timed out."""

    status: int
    body: bytes = b""
    seconds: float = 0.0


class Page:
    """The page, which runs in its own process."""

    def __init__(self, process: subprocess.Popen[str], port: int, folder: Path) -> None:
        self.process, self.port, self.folder = process, port, folder

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, known: bool = True, source: str = ATTACKER,
        timeout: float = 30, **headers: str,
    ) -> Answer:  # fmt: skip
        """Send a request, with the password if `known`. `_` in a header's name stands for `-`."""
        start = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout, (source, 0))
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, {**(_KEY if known else {}), **given})
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), time.perf_counter() - start)
        except (OSError, http.client.HTTPException):
            return Answer(0, b"", time.perf_counter() - start)
        finally:
            connection.close()

    def connect(self, data: bytes = b"") -> socket.socket | None:
        """Open a connection from the attacker's address and send `data`; None if that fails."""
        try:
            one = socket.create_connection(("127.0.0.1", self.port), 5, (ATTACKER, 0))
            one.sendall(data)
        except OSError:
            return None
        return one

    @property
    def memory_mb(self) -> float:
        """The resident memory of the process in MB."""
        return self._status("VmRSS")

    @property
    def log_bytes(self) -> int:
        """The size of the log so far."""
        return (self.folder / "log").stat().st_size

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def _status(self, name: str) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split(f"{name}:")[1].split()[0]) / 1024


def make_collection(folder: Path) -> str:
    """Index some images, and return the path of the database."""
    images = folder / "images"
    images.mkdir()
    csv, uri = write_table(photographs("", images, 30), folder / "images.csv"), folder / "attacked.db"
    command = [sys.executable, "-W", "ignore", "-m", "pipelines", "insert", csv, "--uri", uri, "--model", "builtin"]
    subprocess.run(command, check=True, capture_output=True)
    return str(uri)


@contextlib.contextmanager
def running(folder: Path, uri: str, log_name: str = "log") -> Iterator[Page]:
    """Run the page of a collection with few file descriptors and a password; stop it at the end."""
    given = {"IMAGE_SEARCH_AUTH": AUTH, "IMAGE_SEARCH_CACHE": str(folder / "cache"), "TMPDIR": str(folder / "tmp")}
    (folder / "tmp").mkdir(exist_ok=True)
    command = f'ulimit -n {DESCRIPTORS}; exec "$0" -W ignore -m app --port 0 --uri "$1"'
    with open(folder / log_name, "w") as log:
        process = subprocess.Popen(
            ["bash", "-c", command, sys.executable, uri], env={**os.environ, **given},
            stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = re.search(r":(\d+) ", line)
        if not port:
            raise SystemExit(f"the page did not start: {line}{(folder / log_name).read_text()}")
        page = Page(process, int(port[1]), folder)
        deadline = time.monotonic() + _START_SECONDS
        while page.ask("GET", "/api/search?q=a", source="127.0.0.1").status != 200 and time.monotonic() < deadline:
            time.sleep(0.5)
        yield page
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout:
            process.stdout.close()


class Meanwhile:
    """A client that searches by words and by image, and a health probe. Keeps the slowest responses and failures."""

    def __init__(self, page: Page) -> None:
        self._page, self._stop = page, threading.Event()
        self.worst: dict[str, float] = {}
        self.failed: list[str] = []
        self._threads = [
            threading.Thread(target=self._ask, args=["search", lambda n: ("GET", f"/api/search?q=word+{n}&k=5")]),
            threading.Thread(target=self._ask, args=["image", lambda n: ("POST", "/api/search", _image(n))]),
            threading.Thread(target=self._ask, args=["probe", lambda n: ("GET", "/healthz")]),
        ]

    def __enter__(self) -> Meanwhile:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def reset(self) -> None:
        """Forget all measurements."""
        self.worst, self.failed = dict.fromkeys(KINDS, 0.0), []

    def _ask(self, kind: str, request: Callable[[int], tuple[Any, ...]]) -> None:
        number = 0
        while not self._stop.wait(0.25):
            number += 1
            given = {"Content_Type": "application/json"} if kind == "image" else {}
            answer = self._page.ask(*request(number), source="127.0.0.1", known=kind != "probe", **given)
            self.worst[kind] = max(self.worst.get(kind, 0.0), answer.seconds)
            if answer.status != 200:
                self.failed.append(f"{kind} {answer.status} {answer.body[:60].decode(errors='replace')}")
