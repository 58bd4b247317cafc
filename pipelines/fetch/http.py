"""Download over http and https from URLs that strangers may have written into a CSV.

Such a URL must not give access to the private network, so `network` checks the address of every connection, including
those of redirects. Proxies from the environment are not used: they would resolve host names without this check.
"""

from __future__ import annotations

import io
import threading
import time
from contextlib import suppress
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import IO

import httpcore
import httpx

from ..errors import MissingFile, TooLarge, UnreadableFile
from .network import CheckedTransport, deadline

MAX_REDIRECTS = 5
CONNECT_SECONDS = 10.0
READ_SECONDS = 10.0  # between two chunks of data
TOTAL_SECONDS = 60.0
# Seconds to wait before the second and the third attempt if the server is busy or the connection breaks.
PAUSES = (0.5, 2.0)
MAX_RETRY_AFTER = 30.0
BUSY = frozenset({429, 502, 503, 504})
GONE = frozenset({404, 410})
HEADERS = {
    "User-Agent": "image-search (python-httpx)",
    "Accept": "image/*,*/*;q=0.8",
    "Accept-Encoding": "identity",  # images are compressed already
}
ERRORS = (
    httpx.HTTPError, httpx.InvalidURL, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError,
    httpcore.UnsupportedProtocol, ValueError,
)  # fmt: skip
_making = threading.Lock()


class _Interrupted(Exception):
    """The server is busy or the connection broke. A retry after at least `pause` seconds may succeed."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


def find(url: str, allow_private: bool = False) -> None:
    """Check that a server has a file, without reading it. (Uses GET: some servers answer HEAD with 404 for any file.)

    Raises:
        MissingFile: the server has no such file.
        UnreadableFile: it is unknown whether the server has it; the message is the reason.
    """
    with suppress(TooLarge):
        download(url, io.BytesIO(), 0, allow_private)


def download(
    url: str, target: IO[bytes], max_bytes: int, allow_private: bool = False, seconds: float = TOTAL_SECONDS
) -> None:
    """Write the content of a URL into `target`, in place of what it holds.

    Args:
        allow_private: also connect to private, loopback and link-local addresses.
        seconds: time limit for the whole download, including retries.

    Raises:
        MissingFile, UnreadableFile: the message is the reason.
    """
    deadline.start(seconds)
    for pause in (*PAUSES, None):
        try:
            target.seek(0)
            target.truncate()
            return _try(url, target, max_bytes, _client(allow_private))
        except _Interrupted as error:
            wait = max(pause or 0, error.pause)
            if pause is None or wait > deadline.left():
                raise UnreadableFile(str(error)) from error
            time.sleep(wait)


def _try(url: str, target: IO[bytes], max_bytes: int, client: httpx.Client) -> None:
    """Make one attempt. Follow redirects itself, so that a message can name the URL they lead to."""
    where = ""
    try:
        request = client.build_request("GET", url, timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS))
        for _ in range(MAX_REDIRECTS + 1):
            response = client.send(request, stream=True)
            if response.next_request is None:
                break
            response.close()
            request = response.next_request
            where = f"redirects to {request.url.copy_with(userinfo=b'', query=None, fragment=None)}: "
        else:
            raise UnreadableFile(f"redirects more than {MAX_REDIRECTS} times")
        try:
            _save(response, target, max_bytes)
        finally:
            response.close()
    except (UnreadableFile, *ERRORS) as error:
        raise _explain(error, where) from error


def _save(response: httpx.Response, target: IO[bytes], max_bytes: int) -> None:
    status = f"the server answers {response.status_code} {response.reason_phrase}".rstrip()
    if response.status_code in BUSY:
        after = response.headers.get("retry-after", "")
        raise _Interrupted(status, min(float(after), MAX_RETRY_AFTER) if after.isdecimal() else 0.0)
    if response.status_code != 200:
        raise (MissingFile if response.status_code in GONE else UnreadableFile)(status)
    announced = response.headers.get("content-length", "")
    too_large = TooLarge(f"larger than {max_bytes >> 20} MiB")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise too_large
    received = 0
    for piece in response.iter_bytes():
        received += len(piece)
        if received > max_bytes:
            raise too_large
        target.write(piece)


def _explain(error: Exception, where: str) -> Exception:
    """Return an error with a readable reason. Compare class names: httpx and httpcore each have their own classes."""
    name = type(error).__name__
    detail = " ".join(str(error).split())[:120]
    if isinstance(error, UnreadableFile):
        return type(error)(f"{where}{error}")
    if name in ("ConnectTimeout", "PoolTimeout"):
        reason = f"cannot connect within {CONNECT_SECONDS:g} s"
    elif name.endswith("Timeout"):
        reason = f"timed out after {READ_SECONDS if deadline.left() > 0 else deadline.seconds:g} s"
    elif name == "ConnectError":
        secure = "CERTIFICATE" in detail or "SSL" in detail
        reason = f"{'no secure connection' if secure else 'cannot connect'}: {detail}"
    elif name in ("UnsupportedProtocol", "InvalidURL", "ValueError") or "location header" in detail:
        reason = "not an address that can be fetched"
    elif name == "DecodingError":
        reason = "the server's compression is damaged"
    else:
        return _Interrupted(f"{where}the connection broke off ({detail or name})")
    return UnreadableFile(where + reason)


def _client(allow_private: bool) -> httpx.Client:
    """One client for all threads, so that connections are reused."""
    with _making:  # otherwise threads that call this at the same time would make one each
        return _make_client(allow_private)


@lru_cache(maxsize=2)
def _make_client(allow_private: bool) -> httpx.Client:
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx.Client(transport=CheckedTransport(allow_private), headers=HEADERS, cookies=no_cookies, trust_env=False)
