"""Downloads have limits of size and time, follow redirects, and try again if the server is busy."""

from __future__ import annotations

import io
import socket
import time

import pytest

from pipelines.errors import UnreadableFile
from pipelines.fetch import http
from pipelines.fetch.read import MAX_BYTES, read_file
from tests.support.web_server import WebServer


def reason_for(url: str, seconds: float = http.TOTAL_SECONDS) -> str:
    """Return the reason why a URL cannot be downloaded."""
    with pytest.raises(UnreadableFile) as caught:
        http.download(url, io.BytesIO(), MAX_BYTES, allow_private=True, seconds=seconds)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("path", ["files/ok", "redirects/5", "busy/1", "gzip"])
def test_an_image_is_downloaded(web_server: WebServer, path: str) -> None:
    assert read_file(f"{web_server.url}/{path}", True) == web_server.files["ok"]
    assert web_server.hosts[-1] == web_server.url.removeprefix("http://")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("status/404", "the server answers 404 Not Found"),
        ("status/403", "the server answers 403 Forbidden"),
        ("status/500", "the server answers 500 Internal Server Error"),
        ("redirects/6", "redirects more than 5 times"),
        ("announces-much", "larger than 64 MiB"),
        ("sends-much", "larger than 64 MiB"),
        ("wrong-gzip", "the server's compression is damaged"),
        ("to/ftp:||localhost|a", "redirects to ftp://localhost/a: not an address that can be fetched"),
        ("to/file:||localhost|etc|passwd", "redirects to file://localhost/etc/passwd: not an address"),
        ("to/http:||localhost:1|a", "redirects to http://localhost:1/a: cannot connect"),
        ("to/http:||ann:hunter2@localhost:1|a?token=b#c", "redirects to http://localhost:1/a: cannot connect"),
        ("to/http:||[::1", "not an address that can be fetched"),
    ],
)
def test_a_bad_answer_is_refused_with_a_reason(web_server: WebServer, path: str, reason: str) -> None:
    assert reason in reason_for(f"{web_server.url}/{path}")


def test_neither_a_password_nor_a_cookie_follows_a_redirect(web_server: WebServer) -> None:
    with WebServer() as other:
        other.files["ok"] = web_server.files["ok"]
        target = f"{other.url}/files/ok".replace("/", "|")
        read_file(f"{web_server.url}/to/{target}", True)
        read_file(f"{web_server.url.replace('//', '//ann:b@')}/to/{target}", True)
        assert web_server.secrets[-1].startswith("Basic")
        assert other.secrets == ["", ""]


@pytest.mark.long
@pytest.mark.parametrize(("path", "limit"), [("silent", "0.5 s"), ("drips", "1 s"), ("trickles", "1 s")])
def test_a_slow_server_is_given_up_in_time(
    web_server: WebServer, path: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the limit, each of them would take six seconds or more."""
    monkeypatch.setattr(http, "READ_SECONDS", 0.5)
    start = time.monotonic()
    assert reason_for(f"{web_server.url}/{path}", seconds=1) == f"timed out after {limit}"
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("path", ["cut", "hangs-up", "status/503", "status/429/9999"])
def test_a_server_that_breaks_off_or_is_busy_is_asked_three_times(
    web_server: WebServer, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(http, "MAX_RETRY_AFTER", 0.01)
    web_server.requests.clear()
    reason = reason_for(f"{web_server.url}/{path}")
    assert ("the server answers" if "status" in path else "broke off") in reason
    assert web_server.requests[f"/{path}"] == 3


def test_a_server_that_wants_more_time_than_there_is_is_given_up(web_server: WebServer) -> None:
    assert reason_for(f"{web_server.url}/status/503/9999", seconds=5) == "the server answers 503 Service Unavailable"


def test_a_compressed_bomb_is_read_up_to_the_limit(web_server: WebServer) -> None:
    assert reason_for(f"{web_server.url}/gzip-bomb") == "larger than 64 MiB"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://localhost:1/a.jpg", "cannot connect"),
        ("http://no-such-host.invalid/a.jpg", "there is no host 'no-such-host.invalid'"),
        ("http://", "not an address that can be fetched"),
        ("http://[::1", "not an address that can be fetched"),
        ("http://localhost:99999/", "there is no port 99999"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused_with_a_reason(url: str, reason: str) -> None:
    assert reason in reason_for(url)


def test_only_the_first_download_waits_for_a_host_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CONNECT_SECONDS", 0.3)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    full = [socket.socket() for _ in range(4)]  # a full queue: further connections are left waiting
    for one in full:
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/a.jpg"
    try:
        start = time.monotonic()
        reasons = [reason_for(url, seconds=5) for _ in range(20)]
        assert set(reasons) == {"cannot connect within 0.3 s"}
        assert time.monotonic() - start < 4  # 6 if each were waited for
    finally:
        for one in [*full, listener]:
            one.close()
