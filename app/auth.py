"""One user and password before everything: the page, its uploads and events, the images and the API."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from pipelines.errors import InputError

from .api.errors import refuse
from .limits import Buckets, client_of, retry_after

# Probes tell nothing but whether the program works, and who asks them has no password.
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
# Wrong passwords of one client: ten at once, then one every six seconds.
_ATTEMPTS, _PER_SECOND = 10, 1 / 6


def parse_credentials(text: str) -> bytes:
    """`user:password` as the bytes that HTTP's Basic scheme sends.

    Raises:
        InputError: one of the two is missing.
    """
    user, _, password = text.partition(":")
    if not (user and password):
        raise InputError("auth must be user:password")
    return text.encode(errors="surrogateescape")


class Auth:
    """HTTP Basic (RFC 7617), which browsers and every HTTP client know. Wrong passwords are throttled by client.

    While a client is throttled its passwords are not looked at, right or wrong, so guessing on learns nothing.
    """

    def __init__(self, app: ASGIApp, credentials: bytes, buckets: Buckets | None = None) -> None:
        self._app = app
        self._digest = hashlib.sha256(credentials).digest()
        self._buckets = buckets or Buckets(_PER_SECOND, _ATTEMPTS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            return await self._app(scope, receive, send)
        given = Headers(scope=scope).get("authorization")
        app = self._app
        if given is None:
            app = _ask(scope)
        elif seconds := self._buckets.take(client_of(scope), 0):
            app = refuse(scope, 429, "Too many wrong passwords; wait a moment.", retry_after(seconds))
        elif not self._is_right(given):
            self._buckets.take(client_of(scope))
            app = _ask(scope)
        await app(scope, receive, send)

    def _is_right(self, header: str) -> bool:
        scheme, _, encoded = header.partition(" ")
        try:
            sent = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            sent = b""
        # Of digests, so that neither content nor length shows in the time it takes.
        return hmac.compare_digest(hashlib.sha256(sent).digest(), self._digest) and scheme.lower() == "basic"


def _ask(scope: Scope) -> ASGIApp:
    challenge = {"WWW-Authenticate": 'Basic realm="Image search", charset="UTF-8"'}
    return refuse(scope, 401, "A user and a password are needed.", challenge)
