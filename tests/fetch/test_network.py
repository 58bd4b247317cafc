"""No connection goes to a private address unless it is allowed, whatever name, redirect or proxy leads there.

The servers are real; only the name service is made up, for names that change their address.
"""

from __future__ import annotations

import csv
import io
import ipaddress
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UnreadableFile, UnreadableImage
from pipelines.fetch import http, network
from pipelines.fetch.network import is_public
from pipelines.fetch.read import read_file
from tests.support.remote import forget_clients
from tests.support.web_server import WebServer


def reason_for(url: str, allow_private: bool = True) -> str:
    """Return the reason why an image cannot be fetched."""
    with pytest.raises(UnreadableImage) as caught:
        read_file(url, allow_private)
    assert "\n" not in str(caught.value)
    return str(caught.value)


PRIVATE = (
    "127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255 192.0.2.1 "
    "::1 :: fe80::1 fe80::1%eth0 fc00::1 fd12::1 ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::7f00:1 "
    "64:ff9b::a9fe:a9fe 2002:7f00:1:: 2002:a00:1:: ::127.0.0.1 ::ffff:0:127.0.0.1 64:ff9b:1::7f00:1 168.63.129.16"
)


@pytest.mark.parametrize("address", PRIVATE.split())
def test_a_private_address_is_recognised_in_every_notation(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(address)


SPECIAL = list(csv.DictReader((Path(__file__).parent / "special_addresses.csv").read_text("utf-8").splitlines()))


@pytest.mark.parametrize("row", SPECIAL, ids=lambda row: row["block"])
def test_the_registries_of_special_addresses_decide(row: dict[str, str]) -> None:
    """IANA's registries decide; the anycast addresses of 192.0.0.0/24 serve the local network and are refused, too."""
    network = ipaddress.ip_network(row["block"])
    for address in (network[0], network[network.num_addresses // 2], network[-1]):
        assert is_public(str(address)) == (row["public"] == "True")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]", "0"])
def test_private_addresses_are_refused_in_every_notation(web_server: WebServer, host: str) -> None:
    web_server.requests.clear()
    url = f"http://{host}:{web_server.server.server_port}/files/ok"
    assert "is a private address; --allow-private-urls lets it be fetched" in reason_for(url, allow_private=False)
    assert not web_server.requests


@pytest.fixture
def resolver(monkeypatch) -> dict[str, list[list[str]]]:
    """Return the answers for made-up names, given one after the other; let 127.0.0.2 count as a public address."""
    answers: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if host in answers:
            found = answers[host].pop(0)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]
        return real(host, port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(network, "is_public", lambda address: address == "127.0.0.2")
    return answers


@pytest.fixture
def public_server() -> Iterator[WebServer]:
    try:
        running = WebServer("127.0.0.2")
    except OSError:
        pytest.skip("127.0.0.2 is no address of this machine")
    with running:
        running.files["ok"] = b"from the public one"
        yield running


def test_a_connection_goes_to_the_address_that_was_checked(
    public_server: WebServer, resolver: dict[str, list[list[str]]]
) -> None:
    resolver["rebinding.test"] = [["127.0.0.2"], ["127.0.0.1"]]
    address = f"http://rebinding.test:{public_server.server.server_port}/files/ok"
    assert read_file(address) == b"from the public one"
    assert len(resolver["rebinding.test"]) == 1  # not asked a second time
    assert public_server.hosts == [f"rebinding.test:{public_server.server.server_port}"]


def test_only_the_public_addresses_of_a_name_are_connected_to(
    public_server: WebServer, resolver: dict[str, list[list[str]]]
) -> None:
    resolver["mixed.test"] = [["127.0.0.1", "127.0.0.2"]]
    assert read_file(f"http://mixed.test:{public_server.server.server_port}/files/ok") == b"from the public one"


def test_a_redirect_to_a_private_address_is_refused(
    public_server: WebServer, web_server: WebServer, resolver: dict[str, list[list[str]]]
) -> None:
    web_server.requests.clear()
    target = f"{web_server.url}/files/ok".replace("/", "|")
    reason = reason_for(f"{public_server.url}/to/{target}", allow_private=False)
    assert reason.startswith(f"redirects to {web_server.url}/files/ok: 127.0.0.1 is a private address")
    assert not web_server.requests


def test_a_proxy_from_the_environment_is_not_used(web_server: WebServer, monkeypatch) -> None:
    web_server.requests.clear()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, web_server.url)
    assert "private address" in reason_for("http://10.0.0.1/a.jpg", allow_private=False)
    assert not web_server.requests


def test_tls_checks_the_name_and_not_the_address(tmp_path: Path, monkeypatch) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
    alias = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*make.split(), *alias], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with WebServer() as secure:
        secure.files["ok"] = b"image"
        secure.server.socket = context.wrap_socket(secure.server.socket, server_side=True)
        port = secure.server.server_port
        assert "no secure connection" in reason_for(f"https://localhost:{port}/files/ok")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        forget_clients()  # those of other tests
        try:
            assert read_file(f"https://localhost:{port}/files/ok", True) == b"image"
            with pytest.raises(UnreadableFile, match="timed out after 1 s"):
                http.download(f"https://localhost:{port}/trickles", io.BytesIO(), 99, True, seconds=1)
            assert "no secure connection" in reason_for(f"https://127.0.0.1:{port}/files/ok")
        finally:
            forget_clients()


def test_many_threads_share_one_client(web_server: WebServer) -> None:
    forget_clients()  # those of other tests
    with ThreadPoolExecutor(40) as pool:
        pieces = set(pool.map(lambda _: read_file(f"{web_server.url}/files/ok", True), range(400)))
    assert pieces == {web_server.files["ok"]}
    assert http._make_client.cache_info().misses == 1
