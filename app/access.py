"""Access control: one password for everything, and rate limits for each client."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from pipelines.errors import InputError

from .api.monitoring import STREAMS
from .api.refusals import refuse
from .proxies import UNNAMED, client_of

# Probes report only whether the program works. The systems that send them have no password.
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
# Wrong passwords that one client may send: a burst of ten, then one every six seconds.
_ATTEMPTS, _ATTEMPTS_PER_SECOND = 10, 1 / 6
# Paths whose requests cost a model call, a search or disk space.
_COSTLY = re.compile(r"/api/(search(/form)?|similar/[^/]*)|/gradio_api/(queue/join|upload)/?|/zip")
_CLIENTS = 10_000
# Maximum number of event streams per address, which may belong to a whole office. Each open page has one stream, and a
# second one while it searches.
_STREAMS = 100
# Clients of a trusted proxy that does not name them share the limits of this many clients.
_PEOPLE = 10
# Requests that are not costly have ten times the limit: a page of results loads a hundred thumbnails. It is never below
# 200 a second, because to open the page takes 66 requests, and the page does not start if one of them is refused.
_CHEAP, _CHEAP_AT_LEAST = 10, 200


class Buckets:
    """A token bucket for each client. It gains `rate` tokens a second and holds at most `burst`. Thread-safe.

    Only the last 10,000 clients are remembered, so that a flood of addresses cannot fill the memory.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, client: str, tokens: float = 1.0) -> float:
        """Take tokens and return 0. If there are too few, take none and return the seconds until there are enough.

        With `tokens=0` nothing is taken, and the result is above 0 if less than one token is left.
        """
        with self._lock:
            now = self._clock()
            left, seen = self._clients.pop(client, (self._burst, now))
            left = min(self._burst, left + (now - seen) * self._rate)
            missing = max(tokens, 1.0) - left
            if missing <= 0:
                left -= tokens
            self._clients[client] = (left, now)
            if len(self._clients) > _CLIENTS:
                self._clients.popitem(last=False)
            return max(0.0, missing) / self._rate


class RateLimit:
    """Refuses a client's costly requests (searches, uploads, ZIPs) above `rate` a second, and a burst of twice that.

    Other requests have ten times that limit, and at least 200 a second. Probes have none. The refusal is a 429.
    """

    def __init__(self, rate: float) -> None:
        def buckets(rate: float) -> tuple[Buckets, Buckets]:
            return Buckets(rate, 2 * rate), Buckets(_PEOPLE * rate, 2 * _PEOPLE * rate)

        self._costly, self._other = buckets(rate), buckets(max(_CHEAP * rate, _CHEAP_AT_LEAST))

    def __call__(self, scope: Scope) -> ASGIApp | None:
        if scope["path"] in OPEN_PATHS:
            return None
        client = client_of(scope)
        buckets = self._costly if _COSTLY.fullmatch(scope["path"]) else self._other
        seconds = buckets[client == UNNAMED].take(client)
        return refuse(scope, 429, "Too many requests; wait a moment.", _retry_after(seconds)) if seconds else None


class StreamLimit:
    """Limits open event streams per client, and in total to half of the connections. No stream ends by itself."""

    def __init__(self, app: ASGIApp, connections: int) -> None:
        self._app, self._most = app, connections // 2
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(STREAMS):
            return await self._app(scope, receive, send)
        client = client_of(scope)
        most = self._most if client == UNNAMED else min(self._most, _STREAMS)
        if self._open[client] >= most or sum(self._open.values()) >= self._most:
            refusal = refuse(scope, 429, "Too many pages are open.", _retry_after(10))
            return await refusal(scope, receive, send)
        self._open[client] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]


class Auth:
    """HTTP Basic authentication (RFC 7617), which every browser and HTTP client supports.

    A client that has sent too many wrong passwords has to wait. Until then its passwords are not checked, so that
    further guesses reveal nothing.
    """

    def __init__(self, credentials: bytes) -> None:
        self._digest = hashlib.sha256(credentials).digest()
        self._named = Buckets(_ATTEMPTS_PER_SECOND, _ATTEMPTS)
        self._unnamed = Buckets(_PEOPLE * _ATTEMPTS_PER_SECOND, _PEOPLE * _ATTEMPTS)

    def __call__(self, scope: Scope) -> ASGIApp | None:
        if scope["path"] in OPEN_PATHS:
            return None
        given = Headers(scope=scope).get("authorization")
        if given is not None:
            client = client_of(scope)
            buckets = self._unnamed if client == UNNAMED else self._named
            seconds = buckets.take(client, 0)
            if seconds:
                return refuse(scope, 429, "Too many wrong passwords; wait a moment.", _retry_after(seconds))
            if self._is_right(given):
                return None
            buckets.take(client)
        challenge = {"WWW-Authenticate": 'Basic realm="Image search", charset="UTF-8"'}
        return refuse(scope, 401, "A user and a password are needed.", challenge)

    def _is_right(self, header: str) -> bool:
        scheme, _, encoded = header.partition(" ")
        try:
            sent = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            sent = b""
        # Comparing digests takes a time that reveals neither the content nor the length of the password.
        return hmac.compare_digest(hashlib.sha256(sent).digest(), self._digest) and scheme.lower() == "basic"


def parse_credentials(text: str) -> bytes:
    """Return `user:password` as the bytes that HTTP Basic sends.

    Raises:
        InputError: the user or the password is missing.
    """
    user, _, password = text.partition(":")
    if not (user and password):
        raise InputError("auth must be user:password")
    return text.encode(errors="surrogateescape")


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(int(seconds) + 1)}
