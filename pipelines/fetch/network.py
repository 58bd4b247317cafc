"""Open connections only to addresses that were checked.

This module resolves a host name, checks each of its addresses, and connects to the address that it checked: a second
lookup could return another one.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import httpcore
import httpx

from ..errors import PrivateAddress, UnreadableFile

CONNECTIONS = 64
KEEPALIVE_SECONDS = 15.0
# Seconds until a host that did not answer is tried again: a CSV may name it in a thousand rows.
SILENCE_SECONDS = 30.0

# Written out, because the result of `is_global` differs between Python versions. From IANA's registries of
# special-purpose addresses, https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry.
_NOT_PUBLIC_IPV4 = [
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/3",
        "168.63.129.16/32",  # Azure's own services answer every virtual machine here
    )
]  # fmt: skip
_PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")  # all addresses that are allocated (RFC 4291)
_NOT_PUBLIC_IPV6 = [ipaddress.IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]
# NAT64 (RFC 6052): the last 32 bits are an IPv4 address, which networks without IPv4 reach this way.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Deadline(threading.local):
    """When this thread's download must end. (httpcore limits only each single read.)"""

    seconds = at = float("inf")

    def start(self, seconds: float) -> None:
        """End the download this many seconds from now."""
        self.seconds, self.at = seconds, time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.at - time.monotonic()


deadline = Deadline()


class CheckedTransport(httpx.BaseTransport):
    """Sends httpx requests over connections to checked addresses."""

    def __init__(self, allow_private: bool) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(), max_connections=CONNECTIONS, keepalive_expiry=KEEPALIVE_SECONDS,
            network_backend=_Network(allow_private),
        )  # fmt: skip

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. The body of the response is streamed."""
        url = request.url
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        answer = self._pool.handle_request(
            httpcore.Request(request.method, target, headers=request.headers.raw, extensions=request.extensions)
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions)

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


class _Network(httpcore.SyncBackend):
    """Opens connections. Remembers hosts that did not answer, and does not try them again for SILENCE_SECONDS."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._silent_until: dict[tuple[str, int], float] = {}

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:  # fmt: skip
        """Connect to the first checked address that answers."""
        if self._silent_until.get((host, port), 0) > time.monotonic():
            raise httpcore.ConnectTimeout("did not answer a moment ago")
        failure: Exception | None = None
        for address in self._addresses(host, port):
            try:
                wait = min(timeout or 60.0, max(deadline.left(), 0.01))
                return _Stream(super().connect_tcp(address, port, wait, local_address, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        assert failure is not None
        if isinstance(failure, httpcore.ConnectTimeout):
            self._silent_until[host, port] = time.monotonic() + SILENCE_SECONDS
        raise failure

    def _addresses(self, host: str, port: int) -> list[str]:
        if not 0 < port < 65536:
            raise UnreadableFile(f"there is no port {port}")
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError, OverflowError) as error:
            raise UnreadableFile(f"there is no host '{host}'") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        allowed = [address for address in addresses if self._allow_private or is_public(address)]
        if not allowed:
            named = host if host == addresses[0] else f"{host} ({addresses[0]})"
            raise PrivateAddress(f"{named} is a private address; --allow-private-urls lets it be fetched")
        return allowed


class _Stream(httpcore.NetworkStream):
    """A connection whose reads end at the deadline, even if bytes keep arriving slowly."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = deadline.left()
        if left <= 0:
            raise httpcore.ReadTimeout("deadline")
        return self._inner.read(max_bytes, min(timeout or left, left))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(*args, **kwargs))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet, directly or wrapped by NAT64.

    All other IPv6 addresses that wrap an IPv4 address are refused, because no host has one.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in _NOT_PUBLIC_IPV4)
    if ip in _NAT64:
        return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    return ip in _PUBLIC_IPV6 and not any(ip in network for network in _NOT_PUBLIC_IPV6)
