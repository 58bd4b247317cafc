"""Downloads over http and https from addresses that strangers may have written into a CSV.

A list of addresses must not become a way into the network this runs in: `connections.py` checks where each goes. The
same holds for each redirect. Proxies from the environment are not used: they would resolve the name by themselves.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import IO

import httpcore
import httpx

from ..errors import UnreadableImage
from .network import Transport, clock
from .read import MAX_BYTES

MAX_REDIRECTS = 5
# Waited before another try, in seconds, where the server is busy or breaks off.
PAUSES = (0.5, 2.0)
BUSY = frozenset({429, 502, 503, 504})
HEADERS = {
    "User-Agent": "image-search/0.1 (python-httpx)",
    "Accept": "image/*,*/*;q=0.8",
    "Accept-Encoding": "identity",  # images are compressed already
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
        UnreadableImage: with the reason.
    """
    clock.deadline = time.monotonic() + limits.total
    for pause in (*PAUSES, None):
        try:
            target.seek(0)
            target.truncate()
            return _try(url, target, _client(allow_private), limits)
        except _Interrupted as error:
            wait = max(pause or 0, error.pause)
            if pause is None or time.monotonic() + wait > clock.deadline:
                raise UnreadableImage(str(error)) from error
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
            raise UnreadableImage(f"redirects more than {MAX_REDIRECTS} times")
        try:
            _save(response, target, limits)
        finally:
            response.close()
    except UnreadableImage as error:
        raise UnreadableImage(where + str(error)) from error
    except (httpx.HTTPError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError,
            httpx.InvalidURL, httpcore.UnsupportedProtocol, ValueError) as error:  # fmt: skip
        raise _explained(error, where, limits) from error


def _save(response: httpx.Response, target: IO[bytes], limits: Limits) -> None:
    if response.status_code in BUSY:
        after = response.headers.get("retry-after", "")
        raise _Interrupted(_status(response), min(float(after), 30.0) if after.isdecimal() else 0.0)
    if response.status_code != 200:
        raise UnreadableImage(_status(response))
    too_large = f"larger than {limits.size >> 20} MiB"
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limits.size:
        raise UnreadableImage(too_large)
    received = 0
    for piece in response.iter_bytes():
        received += len(piece)
        if received > limits.size:
            raise UnreadableImage(too_large)
        target.write(piece)


def _status(response: httpx.Response) -> str:
    return f"the server answers {response.status_code} {response.reason_phrase}".rstrip()


def _explained(error: Exception, where: str, limits: Limits) -> Exception:
    """httpx's or httpcore's exception in words. Which of the two raises is not the same for each step."""
    name = type(error).__name__
    detail = " ".join(str(error).split())[:120]
    if name in ("ConnectTimeout", "PoolTimeout"):
        return UnreadableImage(f"{where}cannot connect within {limits.connect:g} s")
    if name.endswith("Timeout"):
        late = time.monotonic() >= clock.deadline
        return UnreadableImage(f"{where}timed out after {limits.total if late else limits.read:g} s")
    if name == "ConnectError":
        secure = "CERTIFICATE" in detail or "SSL" in detail
        return UnreadableImage(f"{where}{'no secure connection' if secure else 'cannot connect'}: {detail}")
    if name in ("UnsupportedProtocol", "InvalidURL", "ValueError") or "location header" in detail:
        return UnreadableImage(f"{where}not an address that can be fetched")
    if name == "DecodingError":
        return UnreadableImage(f"{where}the server's compression is damaged")
    return _Interrupted(f"{where}the connection broke off ({detail or name})")


@lru_cache(maxsize=2)
def _client(allow_private: bool) -> httpx.Client:
    """One for all threads: connections are kept and used again."""
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx.Client(transport=Transport(allow_private), headers=HEADERS, cookies=no_cookies, trust_env=False)
