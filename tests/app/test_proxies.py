"""X-Forwarded headers count only from a named proxy, and cannot be used to escape a limit or to use up another's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from app.application import build_app
from app.library import Library
from app.proxies import is_from_this_machine
from pipelines.errors import InputError
from tests.app.conftest import PASSWORD

PROXY = "10.0.0.1"
Ask = Callable[..., int]

pytestmark = pytest.mark.usefixtures("no_time_passes")


@pytest.fixture
def ask(library: Library, stopped_clock: None) -> Ask:
    """Return a function that gets /api/info from a page trusting 10.0.0.0/24: address, password, headers → status."""
    trusting = Library(replace(library.settings, trusted_proxy=("10.0.0.0/24", "::1")))
    app = build_app(trusting, ["photos.example"])

    def status(address: str, password: str = PASSWORD[1], **headers: str) -> int:
        client = TestClient(app, base_url="http://photos.example", client=(address, 1), raise_server_exceptions=False)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.get("/api/info", auth=(PASSWORD[0].encode(), password.encode()), headers=names).status_code

    return status


def test_a_client_cannot_escape_a_limit_by_a_forged_address(ask: Ask) -> None:
    direct = [ask("192.0.2.1", f"guess{number}", x_forwarded_for=f"1.1.1.{number}") for number in range(12)]
    assert direct == [401] * 10 + [429] * 2
    forged = [ask(PROXY, f"guess{number}", x_forwarded_for=f"1.1.2.{number}, 192.0.2.2") for number in range(12)]
    assert forged == [401] * 10 + [429] * 2


@pytest.mark.parametrize("client", ["192.0.2.9:%d", "[2001:db8::1]:%d", "::ffff:192.0.2.9", "[::ffff:192.0.2.9]:%d"])
def test_a_port_makes_no_other_client(ask: Ask, client: str) -> None:
    forged = [ask(PROXY, f"guess{number}", x_forwarded_for=client.replace("%d", str(number))) for number in range(12)]
    assert forged == [401] * 10 + [429] * 2
    assert ask(PROXY, x_forwarded_for=f"192.0.2.10, {PROXY}:81, [::1]:82") == 200


@pytest.mark.parametrize("name", ["unknown", "_hidden", "1.2.3.4.5", "[x", "a:1"])
def test_what_is_no_address_is_nobody(ask: Ask, name: str) -> None:
    forged = [ask(PROXY, f"guess{number}", x_forwarded_for=f"{name}{number}") for number in range(101)]
    assert forged == [401] * 100 + [429]


def test_a_client_cannot_lock_another_out(ask: Ask) -> None:
    for number in range(12):
        ask("192.0.2.3", f"guess{number}", x_forwarded_for="192.0.2.4")
        ask(PROXY, f"guess{number}", x_forwarded_for="192.0.2.4, 192.0.2.3")
        ask(PROXY, f"guess{number}")  # a client that the proxy does not name
    assert ask("192.0.2.4") == 200
    assert ask(PROXY, x_forwarded_for="192.0.2.4") == 200
    assert ask(PROXY, x_forwarded_for="192.0.2.3") == 429


def test_clients_that_a_proxy_does_not_name_share_a_larger_limit(ask: Ask) -> None:
    statuses = [ask(PROXY, f"guess{number}") for number in range(120)]
    assert statuses[:100] == [401] * 100
    assert 429 in statuses[100:]


def test_the_host_of_a_proxy_counts_and_nobody_elses(ask: Ask) -> None:
    assert ask(PROXY, host="127.0.0.1:7860", x_forwarded_host="photos.example") == 200
    assert ask(PROXY, host="127.0.0.1:7860", x_forwarded_host="evil.example") == 400
    assert ask("192.0.2.5", x_forwarded_host="evil.example") == 200  # the header is removed


def test_the_page_takes_its_address_from_the_proxy(library: Library) -> None:
    trusting = Library(replace(library.settings, auth="", trusted_proxy=(PROXY,)))
    app = build_app(trusting, ["photos.example"])
    roots = [
        TestClient(app, base_url="http://127.0.0.1:7860", client=(address, 1))
        .get("/config", headers={"x-forwarded-host": "photos.example", "x-forwarded-proto": scheme})
        .json()["root"]
        for address, scheme in ((PROXY, "https"), (PROXY, "javascript"), ("192.0.2.6", "https"))
    ]
    assert roots == ["https://photos.example", "http://photos.example", "http://127.0.0.1:7860"]


@pytest.mark.parametrize(
    ("client", "host", "origin", "forwarded", "is_here"),
    [("127.0.0.1", "127.0.0.1:7860", "http://127.0.0.1:7860", False, True), ("::1", "localhost", "", False, True),
     ("::ffff:127.0.0.1", "[::1]:7860", "", False, True), ("127.0.0.1", "192.0.2.1", "http://127.0.0.1", False, False),
     ("127.0.0.1", "127.0.0.1", "http://192.0.2.1", False, False), ("192.0.2.1", "127.0.0.1", "", False, False),
     ("127.0.0.1", "127.0.0.1", "", True, False), ("127.0.0.1", "", "", False, False),
     ("127.0.0.1", "localhost.evil.example", "", False, False), ("evil.example", "localhost", "", False, False),
     ("127.0.0.1", "127.0.0.1", "null", False, False), ("127.0.0.1", "[", "", False, False)],
)  # fmt: skip
def test_this_machine_is_client_host_and_origin(
    client: str, host: str, origin: str, forwarded: bool, is_here: bool
) -> None:
    headers = [(b"host", host.encode()), *([(b"origin", origin.encode())] if origin else [])]
    assert is_from_this_machine({"client": (client, 1), "headers": headers, "forwarded": forwarded}) == is_here
    assert not is_from_this_machine({"client": None, "headers": headers, "forwarded": forwarded})


def test_a_proxy_is_an_address_or_a_network(library: Library) -> None:
    with pytest.raises(InputError, match=r"--trusted-proxy is an address or a network .*'nginx'"):
        build_app(Library(replace(library.settings, trusted_proxy=("nginx",))))
