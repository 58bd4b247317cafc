"""Deadlines and the limit on connections, on a real server, and a log that no client can fill."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app import connections
from app.connections import protocol
from app.log import OnceAMinute
from app.server import listen
from tests.support.page import run_program

MOST = 6
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BODY = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"


begun: list[str] = []  # the paths for which the server has called the application


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the whole body; at /long answer with 64 MB, at /never not at all."""
    if scope["type"] != "http":
        return
    begun.append(scope["path"])
    message = await receive()
    while message["type"] == "http.request" and (message["more_body"] or scope["path"] == "/never"):
        message = await receive()
    parts = [bytes(2**20)] * 64 if scope["path"] == "/long" else [b"ok"]
    length = str(sum(map(len, parts))).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], socket.socket]]:
    """Return a function that connects to a server with short deadlines and sends something."""
    begun.clear()
    monkeypatch.setattr(connections, "_SWEEP_SECONDS", 0.05)
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(answer, http=protocol(MOST), lifespan="off", log_level="critical"))
    thread = threading.Thread(target=server.run, args=[[listener]])
    thread.start()
    with contextlib.ExitStack() as sockets:

        def open_one(data: bytes) -> socket.socket:
            one = sockets.enter_context(socket.create_connection(listener.getsockname(), timeout=30))
            one.sendall(data)
            return one

        yield open_one
    server.should_exit = True
    thread.join()


def wait_until_begun(count: int) -> None:
    """Wait until this many requests have reached the application, and a moment longer for its answers."""
    end = time.monotonic() + 60
    while len(begun) < count and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.05)


def is_closed(one: socket.socket) -> bool:
    try:
        return one.recv(1) == b""
    except ConnectionResetError:
        return True


def is_open(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        one.recv(1)
    except BlockingIOError:
        return True
    finally:
        one.setblocking(True)
    return False


@pytest.mark.long
@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\nX: ", BODY, BODY + b"12345"])
def test_a_request_that_is_not_finished_is_given_up(
    connect: Callable[[bytes], socket.socket], monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(connections, "_HEADER_SECONDS", 0.2)
    monkeypatch.setattr(connections, "_BODY_SECONDS", 0.2)
    assert is_closed(connect(begun))


def test_bytes_now_and_then_do_not_prolong_a_header(
    connect: Callable[[bytes], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_HEADER_SECONDS", 0.3)
    one = connect(REQUEST)
    assert one.recv(12) == b"HTTP/1.1 200"
    one.recv(1000)
    for _ in range(1000):
        try:
            one.sendall(b"X")
        except OSError:
            break
        time.sleep(0.02)
    else:
        pytest.fail("the connection is still open")


def test_a_body_that_arrives_in_time_is_read(
    connect: Callable[[bytes], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_HEADER_SECONDS", 0.05)
    one = connect(BODY)
    time.sleep(0.3)  # longer than a header may take, shorter than a body may
    one.sendall(b"123456789")
    assert one.recv(12) == b"HTTP/1.1 200"


def test_an_answer_that_is_not_read_is_given_up(
    connect: Callable[[bytes], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_BODY_SECONDS", 0.2)
    monkeypatch.setattr(connections, "_BYTES_PER_SECOND", 2**30)
    one = connect(REQUEST.replace(b"/ ", b"/long ", 1))
    time.sleep(1)
    received = 0
    with contextlib.suppress(ConnectionResetError):
        while part := one.recv(2**20):
            received += len(part)
    assert received < 2**26


def test_at_the_limit_the_one_goes_that_has_waited_longest(connect: Callable[[bytes], socket.socket]) -> None:
    busy = connect(REQUEST.replace(b"/ ", b"/never ", 1))  # a complete request: the server waits for nothing more of it
    wait_until_begun(1)
    waiting = [connect(BODY + bytes([49]))]
    waiting += [connect(REQUEST[:10]) for _ in range(MOST - 2)]
    time.sleep(0.1)
    one = connect(REQUEST)
    assert one.recv(12) == b"HTTP/1.1 200"
    assert is_closed(waiting[0])
    assert all(map(is_open, [busy, *waiting[1:]]))


def test_at_the_limit_an_unread_answer_counts_as_waiting(connect: Callable[[bytes], socket.socket]) -> None:
    for number in range(MOST):
        connect(REQUEST.replace(b"/ ", b"/long ", 1))
        wait_until_begun(number + 1)
    assert connect(REQUEST).recv(12) == b"HTTP/1.1 200"


@pytest.fixture
def of_another(connect: Callable[[bytes], socket.socket]) -> Iterator[Callable[[bytes], socket.socket]]:
    """Return the same function for connections from another address."""
    server = connect(REQUEST).getpeername()
    with contextlib.ExitStack() as sockets:

        def open_one(data: bytes) -> socket.socket:
            try:
                one = sockets.enter_context(socket.create_connection(server, 30, ("127.0.0.2", 0)))
            except OSError:
                pytest.skip("127.0.0.2 is no address of this machine")
            one.sendall(data)
            return one

        yield open_one


@pytest.mark.slow
def test_one_address_cannot_take_the_places_of_others(
    connect: Callable[[bytes], socket.socket], of_another: Callable[[bytes], socket.socket]
) -> None:
    busy = [connect(REQUEST.replace(b"/ ", b"/never ", 1)) for _ in range(MOST)]
    wait_until_begun(MOST + 1)  # one is the request from which the fixture learns the server's address
    assert is_closed(connect(REQUEST))
    assert of_another(REQUEST).recv(12) == b"HTTP/1.1 200"
    assert is_closed(busy[0])
    assert all(map(is_open, busy[1:]))


def test_a_crowd_of_one_address_does_not_cost_others_a_request_that_is_under_way(
    connect: Callable[[bytes], socket.socket], of_another: Callable[[bytes], socket.socket]
) -> None:
    other = of_another(REQUEST[:-2])
    for _ in range(2 * MOST):
        connect(REQUEST.replace(b"/ ", b"/never ", 1))
        time.sleep(0.02)
    other.sendall(REQUEST[-2:])
    assert other.recv(12) == b"HTTP/1.1 200"


def test_requests_are_answered_whatever_is_half_sent(connect: Callable[[bytes], socket.socket]) -> None:
    for _ in range(100):
        connect(REQUEST[:10])
        assert connect(REQUEST).recv(12) == b"HTTP/1.1 200"


def test_a_fault_is_logged_once_a_minute() -> None:
    now, lines = 0.0, []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    handler.addFilter(OnceAMinute(lambda: now))
    log = logging.Logger("test")
    log.addHandler(handler)

    def fail(error: Exception) -> None:
        log.error("accept failed: %s", "x", exc_info=error)

    for _ in range(1000):
        fail(OSError())
        fail(ValueError())
    assert lines == ["accept failed: x"] * 2
    now = 61.0
    fail(OSError())
    assert lines[2:] == ["accept failed: x (999 more of this kind)"]


@pytest.mark.parametrize("before", ["", "logging.basicConfig(format='%(message)s'); "])
def test_what_the_application_logs_is_bounded(before: str) -> None:
    """Its own lines, which are handled like asyncio's; `test_server` counts uvicorn's."""
    fail = "for number in range(5): logging.getLogger('app').warning('fault')"
    done = run_program("-c", f"import logging; from app.log import bound_log; {before}bound_log()\n{fail}")
    assert (done.returncode, done.stderr) == (0, "fault\n")


def test_the_log_remembers_few_faults() -> None:
    once = OnceAMinute()
    for number in range(5_000):
        assert once.filter(logging.LogRecord("test", logging.ERROR, "a.py", 1, f"fault {number}", None, None))
    assert len(once._seen) <= 1_000


@pytest.mark.parametrize(("descriptors", "most"), [(256, 85), (12, 8), (10**6, 1_000), (-1, 1_000)])
def test_there_are_fewer_connections_than_descriptors(
    monkeypatch: pytest.MonkeyPatch, descriptors: int, most: int
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda kind: (descriptors, descriptors))
    assert connections.most_connections() == most
    assert connections.backlog() <= most // 4
