"""The password and the rate limit, on the page and the API alike. Each test fails if its check is removed."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from app.access import Auth, Buckets, StreamLimit, parse_credentials
from app.application import build_app
from app.library import Library
from app.proxies import client_of
from pipelines import Settings
from pipelines.errors import InputError
from tests.app.conftest import BASE, PASSWORD
from tests.support.program import CommandResult

# One address of each kind: the page, its files and events, an upload, images, the API and its document.
GUARDED = [
    ("GET", "/"), ("GET", "/config"), ("GET", "/theme.css"), ("POST", "/gradio_api/queue/join"),
    ("GET", "/gradio_api/queue/data?session_hash=x"), ("POST", "/gradio_api/upload"), ("GET", "/gradio_api/info"),
    ("GET", "/thumb/1"), ("GET", "/image/1"), ("GET", "/api/search?q=x"), ("POST", "/api/search"),
    ("GET", "/api/similar/1"), ("GET", "/api/info"), ("GET", "/api/openapi.json"), ("GET", "/metrics"),
    ("HEAD", "/image/1"), ("GET", "/favicon.ico"),
]  # fmt: skip


def client_at(client: TestClient, address: str) -> TestClient:
    """Return a client with its own address, because limits count by address."""
    return TestClient(client.app, base_url=BASE, client=(address, 1), raise_server_exceptions=False)


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_nothing_is_served_without_the_password(guarded: TestClient, method: str, path: str) -> None:
    answer = client_at(guarded, "10.0.0.1").request(method, path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/config", "/thumb/1", "/image/1", "/api/search?q=x", "/api/info", "/metrics"])
def test_everything_is_served_with_the_password(guarded: TestClient, path: str) -> None:
    header = base64.b64encode(":".join(PASSWORD).encode()).decode()
    answer = client_at(guarded, "10.0.0.2").get(path, headers={"Authorization": f"Basic {header}"})
    assert answer.status_code == 200


def test_probes_need_no_password(guarded: TestClient) -> None:
    assert guarded.get("/healthz").status_code == guarded.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    "header", ["Basic", "Basic !", "Basic " + base64.b64encode(b"ann:").decode(), "Bearer x", "",
               "Digest " + base64.b64encode(":".join(PASSWORD).encode()).decode(),
               "Basic " + base64.b64encode(b"ann:t\xc3\xbc\xc3\xbc:lon").decode()],
)  # fmt: skip
def test_wrong_passwords_are_refused(guarded: TestClient, header: str) -> None:
    answer = client_at(guarded, f"10.0.1.{len(header)}").get("/api/info", headers={"Authorization": header})
    assert answer.status_code == 401


@pytest.mark.usefixtures("stopped_clock")
def test_a_guessing_client_has_to_wait_even_with_the_right_password(library: Library) -> None:
    app = TestClient(build_app(library), base_url=BASE)
    guesser, owner = client_at(app, "10.0.0.3"), client_at(app, "10.0.0.4")
    statuses = [guesser.get("/api/info", auth=("ann", f"guess{number}")).status_code for number in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    throttled = guesser.get("/api/info", auth=("ann", "tüü:long"))
    assert throttled.status_code == 429
    assert int(throttled.headers["retry-after"]) >= 1
    assert throttled.json() == {"error": "Too many wrong passwords; wait a moment."}
    right = base64.b64encode(":".join(PASSWORD).encode()).decode()
    assert owner.get("/api/info", headers={"Authorization": f"Basic {right}"}).status_code == 200
    assert guesser.get("/api/info").status_code == 401  # a request without a password is no guess


def test_a_password_has_two_parts() -> None:
    assert parse_credentials("a:b:c") == b"a:b:c"
    for text in ("a", ":b", "a:"):
        with pytest.raises(InputError, match="user:password"):
            parse_credentials(text)
    assert "hidden" not in repr(Settings(auth="a:hidden"))


def test_passwords_are_compared_by_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr("app.access.hmac.compare_digest", lambda *both: bool(compared.append(both)))
    Auth(b"a:b")._is_right("Basic " + base64.b64encode(b"a:b").decode())
    ((sent, ours),) = compared
    assert sent == ours
    assert len(sent) == 32


@pytest.mark.long
@pytest.mark.usefixtures("stopped_clock")
@pytest.mark.parametrize(
    ("path", "post"), [("/api/search?q=x", False), ("/api/similar/1", False), ("/gradio_api/queue/join", True),
                       ("/gradio_api/upload", True), ("/api/search", True)],
)  # fmt: skip
def test_one_client_cannot_ask_too_often(library: Library, path: str, post: bool) -> None:
    limited = Library(replace(library.settings, auth="", rate_limit=3))
    app = TestClient(build_app(limited), base_url=BASE)

    def ask(address: str, path: str) -> int:
        client = client_at(app, address)
        return (client.post(path) if post else client.get(path)).status_code

    statuses = [ask("10.0.2.1", path) for _ in range(9)]
    assert 429 not in statuses[:6]
    assert 429 in statuses[6:]
    assert ask("10.0.2.2", path) != 429
    assert all(client_at(app, "10.0.2.1").get("/thumb/1").status_code == 200 for _ in range(9))


@pytest.mark.usefixtures("stopped_clock")
def test_one_client_cannot_ask_for_anything_without_end(library: Library) -> None:
    app = TestClient(build_app(Library(replace(library.settings, auth="", rate_limit=1))), base_url=BASE)
    statuses = [client_at(app, "10.0.3.1").get("/favicon.ico").status_code for _ in range(440)]
    assert 429 not in statuses[:400]  # enough to open the page six times, however few searches are allowed
    assert 429 in statuses[400:]
    assert client_at(app, "10.0.3.1").get("/healthz").status_code == 200
    assert client_at(app, "10.0.3.2").get("/favicon.ico").status_code == 200


def test_buckets_fill_again_and_forget_the_oldest() -> None:
    now = 0.0
    buckets = Buckets(rate=2, burst=3, clock=lambda: now)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    now = 0.5
    assert buckets.take("a", 0) == 0
    assert buckets.take("a") == 0
    assert buckets.take("a", 0) > 0
    now = 100.0
    assert [bool(buckets.take("a")) for _ in range(4)] == [False, False, False, True]
    for number in range(10_001):
        buckets.take(str(number))
    assert len(buckets._clients) == 10_000


def test_an_ipv6_network_is_one_client() -> None:
    assert client_of({"client": ("2001:db8::1", 1)}) == client_of({"client": ("2001:db8::ffff:2", 1)})
    assert client_of({"client": ("2001:db8:0:1::1", 1)}) != client_of({"client": ("2001:db8::1", 1)})
    assert client_of({"client": ("10.0.0.1", 1)}) != client_of({"client": ("10.0.0.2", 1)})
    assert client_of({"client": ("::ffff:10.0.0.1", 1)}) == "10.0.0.1"
    assert client_of({"client": None}) == ""


def test_a_password_of_one_part_stops_the_page_at_once(
    tmp_path: Path, quick_command: Callable[..., CommandResult]
) -> None:
    (tmp_path / "auth").write_text("nopassword\n")
    done = quick_command("serve", "--port", "0", "--auth-file", tmp_path / "auth")
    assert (done.status, done.err) == (2, "error: auth must be user:password\n")


def test_event_streams_of_a_client_and_of_all_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.access._STREAMS", 2)
    end = asyncio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await end.wait()

    async def play() -> None:
        limit, refused = StreamLimit(stream, connections=8), []

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        async def open_one(address: str) -> asyncio.Task[None]:
            async def send(message: Message) -> None:
                if "status" in message:
                    refused.append((address, message["status"]))

            scope = {"type": "http", "path": "/gradio_api/heartbeat/x", "client": (address, 1)}
            task = asyncio.create_task(limit(scope, receive, send))
            await asyncio.sleep(0)
            return task

        tasks = [await open_one(address) for address in ("a", "a", "a", "b", "c", "d")]
        assert refused == [("a", 429), ("d", 429)]  # at most two of one client, and four in all
        end.set()
        await asyncio.gather(*tasks)
        await (await open_one("a"))
        assert len(refused) == 2

    asyncio.run(play())


def test_the_page_limits_event_streams(open_client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.access._STREAMS", 0)
    assert open_client.get("/gradio_api/heartbeat/x").status_code == 429
