"""Checks before every request: host, origin, path, files and size, and the security headers of every answer.

Pure ASGI: Starlette's BaseHTTPMiddleware breaks the event stream that carries the answers of the page.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .api.refusals import refuse

# Returns the answer to a request that must not reach the application, None for any other.
Check = Callable[[Scope], ASGIApp | None]

MAX_UPLOAD_BYTES = 25 * 2**20
MAX_BODY_BYTES = 2**20
UPLOAD_PATHS = ("/gradio_api/upload", "/api/search", "/api/search/form")
EVENT_PATH = "/gradio_api/queue/join"

# Gradio's page evaluates its templates and sets inline styles: without the 'unsafe' values it stays blank.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

# The page's own addresses and those of Gradio's that it uses. Everything else is closed: a URL fetcher, a proxy, run
# history, an icon resizer without a limit, code editing, and whatever a later Gradio adds.
_PAGE_PATHS = re.compile(
    r"/|/(config|theme\.css|robots\.txt|manifest\.json|favicon\.ico)|/(assets|static|thumb|image)/.*"
    r"|/gradio_api/(info|startup-events|login_check|app_id|upload|upload_progress|cancel|reset)/?"
    r"|/gradio_api/queue/(join|data)|/gradio_api/heartbeat/\w+"
    r"|/api/(search(/form)?|info|openapi\.json)|/api/similar/[^/]+|/(healthz|readyz|metrics)",
    re.DOTALL,
)


class SecurityHeaders:
    """Adds HEADERS to every answer, except where the answer has set its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class Guard:
    """Answers a request with the first refusal of its checks, or lets the application answer."""

    def __init__(self, app: ASGIApp, checks: Sequence[Check]) -> None:
        self._app, self._checks = app, checks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # no route uses one
            return await send({"type": "websocket.close", "code": 1008})
        refusals = (check(scope) for check in self._checks) if scope["type"] == "http" else ()
        await next(filter(None, refusals), self._app)(scope, receive, send)


class Gate:
    """Refuses requests under a foreign name, from another site, or to an address that the page does not use.

    A foreign Host is DNS rebinding. A foreign Origin is another site that posts to this one.

    Args:
        hosts: names of the page besides localhost, this machine's name and any IP address.
        uploads: the folder in which Gradio keeps uploads, the only one whose files it may send.
        origins: other origins that may use the API.
    """

    def __init__(self, hosts: Iterable[str], uploads: str, origins: Sequence[str] = ()) -> None:
        self._hosts = {"localhost", socket.gethostname().lower(), *(host.lower() for host in hosts)}
        self._uploads = f"/gradio_api/file={uploads.rstrip('/')}/"
        self._origins = origins

    def __call__(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_ours(host):
            return refuse(scope, 400, "This page is not served under that name; see --allowed-hosts.")
        if not self._is_for_the_page(scope["path"]):
            return refuse(scope, 404, "Not found")
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc != host
        foreign = foreign or headers.get("sec-fetch-site") == "cross-site"
        if scope["path"].startswith("/api/") and ("*" in self._origins or origin in self._origins):
            foreign = False
        if foreign and scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            return refuse(scope, 403, "Only the page itself may do that.")
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            # DNS rebinding needs a name: every IP address is safe.
            return name in self._hosts or ipaddress.ip_address(name) is not None
        except ValueError:
            return False

    def _is_for_the_page(self, path: str) -> bool:
        if path.startswith(self._uploads):
            return "/../" not in path
        return _PAGE_PATHS.fullmatch(path) is not None


class OnlyUploads:
    """Refuses an event that names a file which is not an upload.

    Any value of an event may be a 'file': Gradio copies the path or URL that it names into the folder of uploads,
    from where anybody can fetch it. Gradio has checks of its own, but only under some conditions.
    """

    def __init__(self, app: ASGIApp, uploads: str) -> None:
        self._app, self._uploads = app, uploads.rstrip("/") + "/"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != EVENT_PATH:
            return await self._app(scope, receive, send)
        body = await Request(scope, receive).body()
        if not self._is_harmless(body):
            return await refuse(scope, 403, "Only uploads can be used.")(scope, receive, send)
        unread: list[Message] = [{"type": "http.request", "body": body}]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        await self._app(scope, replay, send)

    def _is_harmless(self, body: bytes) -> bool:
        try:
            return all(self._is_upload(path) for path in _named_files(json.loads(body)))
        except (ValueError, RecursionError):
            return False

    def _is_upload(self, path: object) -> bool:
        return isinstance(path, str) and os.path.realpath(path).startswith(self._uploads)


def _named_files(value: Any) -> Iterator[object]:
    """Yield every value under the key 'path', at any depth: Gradio may take it for a file."""
    if isinstance(value, dict):
        if value.get("path") is not None:
            yield value["path"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _named_files(item)


class BodyLimit:
    """Refuses a body that is too large before it is written to disk, with or without a Content-Length."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        limit = MAX_UPLOAD_BYTES if scope["path"].rstrip("/") in UPLOAD_PATHS else MAX_BODY_BYTES
        refusal = refuse(scope, 413, f"The request is larger than {limit >> 20} MB.", {"Connection": "close"})
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdigit() or int(declared) > limit:
            return await refusal(scope, receive, send)
        left, answered = limit, False

        async def receive_within() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise _TooLarge
            return message

        async def send_within(message: Message) -> None:  # drops the answer of an application that caught _TooLarge
            nonlocal answered
            if left >= 0:
                answered = True
                await send(message)

        with contextlib.suppress(_TooLarge):
            await self._app(scope, receive_within, send_within)
        if left < 0 and not answered:
            await refusal(scope, receive, send)


class _TooLarge(Exception):
    """Raised to whatever reads a body beyond its limit."""
