"""What stands before every request: who may ask, for what, how much, and what the browser may do with the answer.

Pure ASGI, because Starlette's BaseHTTPMiddleware breaks the event stream that the page's answers come through.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import socket
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .api.errors import refuse

MAX_UPLOAD_BYTES = 25 * 2**20
MAX_BODY_BYTES = 2**20
UPLOAD_PATHS = ("/gradio_api/upload", "/api/search")
EVENT_PATH = "/gradio_api/queue/join"

# Gradio's page evaluates its templates and sets inline styles: without the two 'unsafe' words it stays blank.
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

# Our own addresses, and all of Gradio's that the page uses. The rest (a URL fetcher, a proxy, run history, an icon
# resizer without a limit, code editing) is not for us, and what a later Gradio adds is not until it is named here.
_PAGE_PATHS = re.compile(
    r"/|/(config|theme\.css|robots\.txt|manifest\.json|favicon\.ico)|/(assets|static|thumb|image)/.*"
    r"|/gradio_api/(info|startup-events|login_check|app_id|upload|upload_progress|cancel|reset)/?"
    r"|/gradio_api/queue/(join|data)|/gradio_api/heartbeat/\w+"
    r"|/api/(search|info|openapi\.json)|/api/similar/[^/]+|/(healthz|readyz|metrics)",
    re.DOTALL,
)


class SecurityHeaders:
    """Adds HEADERS to every answer that does not bring its own."""

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


class Gate:
    """Lets through what the page itself asks for, under a name that is ours.

    A foreign Host is DNS rebinding, a foreign Origin another site posting to this one; both are refused, as are
    the addresses of Gradio that the page has no use for.

    Args:
        hosts: names under which the page may be reached besides localhost, this machine's name and any IP address.
        uploads: the folder that Gradio keeps uploads in, the only one whose files it may send.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], uploads: str) -> None:
        self._app = app
        self._hosts = {"localhost", socket.gethostname().lower(), *(host.lower() for host in hosts)}
        self._uploads = f"/gradio_api/file={uploads.rstrip('/')}/"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":  # nothing here speaks WebSocket
            return await send({"type": "websocket.close", "code": 1008})
        refusal = self._refusal(scope, Headers(scope=scope))
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return refuse(scope, 400, "This page is not served under that name; see --allowed-hosts.")
        if not self._is_for_the_page(scope["path"]):
            return refuse(scope, 404, "Not found")
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc != host
        foreign = foreign or headers.get("sec-fetch-site") == "cross-site"
        if foreign and scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            return refuse(scope, 403, "Only the page itself may do that.")
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            # Rebinding needs a name: any address is safe.
            return name in self._hosts or ipaddress.ip_address(name) is not None
        except ValueError:
            return False

    def _is_for_the_page(self, path: str) -> bool:
        if path.startswith(self._uploads):
            return "/../" not in path
        return _PAGE_PATHS.fullmatch(path) is not None


class OnlyUploads:
    """Refuses an event that names a file which is no upload.

    Any value of an event may be a 'file': Gradio copies what it names, a path of the server or a URL, into the
    folder of uploads, from where it can be fetched. Here this is checked without any of Gradio's own conditions.
    """

    def __init__(self, app: ASGIApp, uploads: str) -> None:
        self._app, self._uploads = app, uploads.rstrip("/") + "/"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != EVENT_PATH:
            return await self._app(scope, receive, send)
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if not self._is_harmless(body):
            return await refuse(scope, 403, "Only uploads can be used.")(scope, receive, send)
        whole: Message = {"type": "http.request", "body": body, "more_body": False}
        waiting = [whole]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, replay, send)

    def _is_harmless(self, body: bytes) -> bool:
        try:
            return all(self._is_upload(path) for path in _named_files(json.loads(body)))
        except (ValueError, RecursionError):
            return False

    def _is_upload(self, path: object) -> bool:
        return isinstance(path, str) and os.path.realpath(path).startswith(self._uploads)


def _named_files(value: Any) -> Iterator[object]:
    """Every value under the key 'path', at any depth: what Gradio may take for a file."""
    if isinstance(value, dict):
        if value.get("path") is not None:
            yield value["path"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _named_files(item)


class BodyLimit:
    """Refuses a body that is too large before it is on disk, told or chunked."""

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
        meter = _Meter(receive, send, limit)
        with contextlib.suppress(_TooLarge):
            await self._app(scope, meter.receive, meter.send)
        if meter.exceeded and not meter.answered:
            await refusal(scope, receive, send)


class _TooLarge(Exception):
    """Stops whoever reads the body."""


class _Meter:
    """Counts what is received; once it is too much, the answer is ours and not the application's."""

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self._receive, self._send, self._left = receive, send, limit
        self.exceeded = self.answered = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.exceeded = True
            raise _TooLarge
        return message

    async def send(self, message: Message) -> None:
        if not self.exceeded:
            self.answered = True
            await self._send(message)
