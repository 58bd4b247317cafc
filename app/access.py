"""Checks of who may use the page, and how often: one password for everything, and a limit for each client."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Scope

from pipelines.errors import InputError

from .api.refusals import refuse
from .proxies import UNNAMED

# Probes tell only whether the program works, and who sends them has no password.
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
# Wrong passwords of one client: ten at once, then one every six seconds.
_ATTEMPTS, _ATTEMPTS_PER_SECOND = 10, 1 / 6
# Addresses whose answers cost a model call, a search or disk space.
_COSTLY = re.compile(r"/api/(search(/form)?|similar/[^/]*)|/gradio_api/(queue/join|upload)/?")
_CLIENTS = 10_000
# Clients of a trusted proxy that does not name them share the limits of so many.
_PEOPLE = 10


class Buckets:
    """A token bucket for each client: `rate` tokens a second, of which at most `burst` are saved. Thread-safe.

    Only the last 10,000 clients are remembered, so a flood of addresses costs no memory.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, client: str, tokens: float = 1.0) -> float:
        """Take tokens and return 0. If there are too few, take none and return the seconds until there are enough.

        With `tokens=0` nothing is taken: the result is above 0 if less than one token is left.
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
    """Refuses searches and uploads of one client beyond `rate` a second, and a burst of twice that, with 429."""

    def __init__(self, rate: float) -> None:
        self._buckets = Buckets(rate, 2 * rate)
        self._unnamed = Buckets(_PEOPLE * rate, 2 * _PEOPLE * rate)

    def __call__(self, scope: Scope) -> ASGIApp | None:
        if not _COSTLY.fullmatch(scope["path"]):
            return None
        client = client_of(scope)
        seconds = (self._unnamed if client == UNNAMED else self._buckets).take(client)
        return refuse(scope, 429, "Too many requests; wait a moment.", _retry_after(seconds)) if seconds else None


class Auth:
    """HTTP Basic (RFC 7617), which every browser and HTTP client knows.

    A client with too many wrong passwords has to wait. Meanwhile its passwords are not checked, so that guessing on
    tells nothing.
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
        # Digests: the time of the comparison tells neither content nor length.
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


def client_of(scope: Scope) -> str:
    """Return the client's address, or its IPv6 network, which belongs to one person."""
    host = (scope.get("client") or ("", 0))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return str(host)
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else str(address)


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(int(seconds) + 1)}
