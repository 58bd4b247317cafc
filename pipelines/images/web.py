"""Downloads over http and https from addresses that strangers may have written into a CSV.

A list of addresses must not become a way into the network this runs in: the name is resolved here, each address it
resolves to is checked, and the connection goes to the address that was checked (a name may resolve to another one
the next moment). The same holds for each redirect. Proxies from the environment are not used: they would resolve
the name by themselves.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import IO, Any

import httpcore
import httpx

from .reading import MAX_BYTES, UnreadablePicture

MAX_REDIRECTS = 5
# Waited before another try, in seconds, where the server is busy or breaks off.
PAUSES = (0.5, 2.0)
BUSY = frozenset({429, 502, 503, 504})
CONNECTIONS = 64
# A thousand rows of a host that is gone must not each wait for it.
SILENCE_SECONDS = 30.0
HEADERS = {
    "User-Agent": "image-search/0.1 (python-httpx)",
    "Accept": "image/*,*/*;q=0.8",
    "Accept-Encoding": "identity",  # pictures are compressed already
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds to connect, between two pieces of data, and for everything; bytes."""

    connect: float = 10.0
    read: float = 10.0
    total: float = 60.0
    size: int = MAX_BYTES


LIMITS = Limits()


class _Interrupted(Exception):
    """The server is busy or broke off: worth another try."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


def download(url: str, target: IO[bytes], allow_private: bool = False, limits: Limits = LIMITS) -> None:
    """Writes what is at `url` into `target`, from its start.

    Args:
        allow_private: also connect to private, loopback and link-local addresses.

    Raises:
        UnreadablePicture: with the reason.
    """
    _clock.deadline = time.monotonic() + limits.total
    for pause in (*PAUSES, None):
        try:
            target.seek(0)
            target.truncate()
            return _try(url, target, _client(allow_private), limits)
        except _Interrupted as error:
            wait = max(pause or 0, error.pause)
            if pause is None or time.monotonic() + wait > _clock.deadline:
                raise UnreadablePicture(str(error)) from error
            time.sleep(wait)


def _try(url: str, target: IO[bytes], client: httpx.Client, limits: Limits) -> None:
    """One try. All of httpx's and httpcore's errors become a sentence here."""
    where = ""
    try:
        request = client.build_request("GET", url, timeout=httpx.Timeout(limits.read, connect=limits.connect))
        for _ in range(MAX_REDIRECTS + 1):
            response = client.send(request, stream=True)
            if response.next_request is None:
                break
            response.close()
            request = response.next_request
            where = f"redirects to {request.url.copy_with(userinfo=b'', query=None, fragment=None)}: "
        else:
            raise UnreadablePicture(f"redirects more than {MAX_REDIRECTS} times")
        try:
            _save(response, target, limits)
        finally:
            response.close()
    except UnreadablePicture as error:
        raise UnreadablePicture(where + str(error)) from error
    except (httpx.HTTPError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError,
            httpx.InvalidURL, httpcore.UnsupportedProtocol, ValueError) as error:  # fmt: skip
        raise _explained(error, where, limits) from error


def _save(response: httpx.Response, target: IO[bytes], limits: Limits) -> None:
    if response.status_code in BUSY:
        after = response.headers.get("retry-after", "")
        raise _Interrupted(_status(response), min(float(after), 30.0) if after.isdecimal() else 0.0)
    if response.status_code != 200:
        raise UnreadablePicture(_status(response))
    too_large = f"larger than {limits.size >> 20} MiB"
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limits.size:
        raise UnreadablePicture(too_large)
    received = 0
    for piece in response.iter_bytes():
        received += len(piece)
        if received > limits.size:
            raise UnreadablePicture(too_large)
        target.write(piece)


def _status(response: httpx.Response) -> str:
    return f"the server answers {response.status_code} {response.reason_phrase}".rstrip()


def _explained(error: Exception, where: str, limits: Limits) -> Exception:
    """httpx's or httpcore's exception in words. Which of the two raises is not the same for each step."""
    name = type(error).__name__
    detail = " ".join(str(error).split())[:120]
    if name in ("ConnectTimeout", "PoolTimeout"):
        return UnreadablePicture(f"{where}cannot connect within {limits.connect:g} s")
    if name.endswith("Timeout"):
        late = time.monotonic() >= _clock.deadline
        return UnreadablePicture(f"{where}timed out after {limits.total if late else limits.read:g} s")
    if name == "ConnectError":
        secure = "CERTIFICATE" in detail or "SSL" in detail
        return UnreadablePicture(f"{where}{'no secure connection' if secure else 'cannot connect'}: {detail}")
    if name in ("UnsupportedProtocol", "InvalidURL", "ValueError") or "location header" in detail:
        return UnreadablePicture(f"{where}not an address that can be fetched")
    if name == "DecodingError":
        return UnreadablePicture(f"{where}the server's compression is damaged")
    return _Interrupted(f"{where}the connection broke off ({detail or name})")


# --- The connection ------------------------------------------------------------------------------------------------


class _Clock(threading.local):
    """When this thread's download must have ended; httpcore only knows a limit for each single read."""

    deadline = float("inf")


_clock = _Clock()


class _Stream(httpcore.NetworkStream):
    """A connection on which no read waits beyond the deadline, however slowly the bytes come."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = _clock.deadline - time.monotonic()
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


class _Network(httpcore.NetworkBackend):
    """Resolves a name once, and connects to the address it has checked."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._inner = httpcore.SyncBackend()
        self._silent: dict[
            tuple[str, int], float
        ] = {}  # hosts that did not answer, and until when they are not asked again

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:  # fmt: skip
        if self._silent.get((host, port), 0) > time.monotonic():
            raise httpcore.ConnectTimeout("not asked again")
        failure: Exception | None = None
        for address in self._addresses(host, port):
            try:
                wait = min(timeout or 60.0, max(_clock.deadline - time.monotonic(), 0.01))
                return _Stream(self._inner.connect_tcp(address, port, wait, local_address, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        assert failure is not None
        if isinstance(failure, httpcore.ConnectTimeout):
            self._silent[host, port] = time.monotonic() + SILENCE_SECONDS
        raise failure

    def _addresses(self, host: str, port: int) -> list[str]:
        if not 0 < port < 65536:
            raise UnreadablePicture(f"there is no port {port}")
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError, OverflowError) as error:
            raise UnreadablePicture(f"there is no host '{host}'") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        allowed = [address for address in addresses if self._allow_private or is_public(address)]
        if not allowed:
            named = host if host == addresses[0] else f"{host} ({addresses[0]})"
            raise UnreadablePicture(f"{named} is a private address; --allow-private-urls lets it be fetched")
        return allowed


def is_public(address: str) -> bool:
    """False for private, loopback, link-local, multicast and reserved addresses, however an IPv6 one wraps them."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class _Body(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


class _Transport(httpx.BaseTransport):
    """httpx over connections of `_Network`."""

    def __init__(self, allow_private: bool) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(), max_connections=CONNECTIONS, keepalive_expiry=15.0,
            network_backend=_Network(allow_private),
        )  # fmt: skip

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        answer = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                extensions=request.extensions,
            )
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions)


@lru_cache(maxsize=2)
def _client(allow_private: bool) -> httpx.Client:
    """One for all threads: connections are kept and used again."""
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx.Client(transport=_Transport(allow_private), headers=HEADERS, cookies=no_cookies, trust_env=False)
