"""Connections that are held open, bodies that never end, and responses that nobody reads."""

from __future__ import annotations

import socket
import time

from .outcome import Outcome
from .page import KEY_LINE, Page

_HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
_SECONDS = 8
_LOG_BYTES = 50_000


def half_sent_headers(page: Page) -> Outcome:
    """A thousand requests that stop in the middle of a header."""
    return _held(page, "half-sent headers", [_HEAD] * 1_000)


def silent_connections(page: Page) -> Outcome:
    """A thousand connections that send nothing."""
    return _held(page, "silent connections", [b""] * 1_000)


def half_sent_bodies(page: Page) -> Outcome:
    """Sixty JSON bodies, sent with the password, that stop after 10 of 11 MB."""
    head = b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" + KEY_LINE
    before = page.memory_mb
    outcome = _held(page, "half-sent bodies of 10 MB", [head + b"Content-Length: 11000000\r\n\r\n" + bytes(10**7)] * 60)
    grown = page.memory_mb - before
    return outcome._replace(held=outcome.held and grown < 200, note=f"memory {grown:+.0f} MB")


def trickling_headers(page: Page) -> Outcome:
    """Fifty requests that send one byte every half second. The page closes each after ten seconds."""
    ones = [page.connect(_HEAD) for _ in range(50)]
    end = time.monotonic() + 14
    while time.monotonic() < end:
        for one in ones:
            _send(one, b"x")
        time.sleep(0.5)
    alive = sum(_is_open(one) for one in ones)
    _close(ones)
    return Outcome("headers, a byte at a time", 50, alive == 0, f"{alive} alive after 14 s")


def answers_unread(page: Page) -> Outcome:
    """A hundred and twenty connections that each request the OpenAPI document twenty times and read no response."""
    request = b"GET /api/openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n" + KEY_LINE + b"\r\n"
    return _held(page, "responses that are not read", [request * 20] * 120)


def event_streams(page: Page) -> Outcome:
    """Three hundred event streams from one client."""
    request = b"GET /gradio_api/heartbeat/s%d HTTP/1.1\r\nHost: 127.0.0.1\r\n" + KEY_LINE + b"\r\n"
    return _held(page, "event streams", [request % number for number in range(300)])


def _held(page: Page, kind: str, parts: list[bytes]) -> Outcome:
    before = page.log_bytes
    ones = [page.connect(part) for part in parts]
    time.sleep(_SECONDS)
    probes = [page.ask("GET", "/healthz", known=False, source="127.0.0.1", timeout=5) for _ in range(5)]
    _close(ones)
    grown = page.log_bytes - before
    return Outcome(
        kind, len(parts), all(probe.status == 200 for probe in probes) and grown < _LOG_BYTES, f"log {grown:+,} bytes"
    )


def _send(one: socket.socket | None, data: bytes) -> None:
    try:
        if one:
            one.sendall(data)
    except OSError:
        pass


def _is_open(one: socket.socket | None) -> bool:
    if one is None:
        return False
    one.setblocking(False)
    try:
        return one.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def _close(ones: list[socket.socket | None]) -> None:
    for one in ones:
        if one:
            one.close()


ATTACKS = (half_sent_headers, silent_connections, half_sent_bodies, trickling_headers, answers_unread, event_streams)
