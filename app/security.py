"""Check the host, origin and path of every request, and add security headers to every answer.

This is pure ASGI, because Starlette's BaseHTTPMiddleware breaks the event stream that carries the page's answers.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .api.refusals import refuse

# Returns the answer to a request that must not reach the application; None for any other request.
Check = Callable[[Scope], ASGIApp | None]

# Gradio's page evaluates its templates and sets inline styles. Without the 'unsafe' values it stays blank.
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

# The page's own paths, and those of Gradio that it uses. All others are refused: a URL fetcher, a proxy, run history,
# an icon resizer without a size limit, code editing, and anything that a later Gradio adds.
_PAGE_PATHS = re.compile(
    r"/|/(config|theme\.css|robots\.txt|manifest\.json|favicon\.ico)|/(assets|static|thumb|preview|image|details|folder|download|zip|texts)/.*|/zip"
    r"|/gradio_api/(info|startup-events|login_check|app_id|upload|upload_progress|cancel|reset)/?"
    r"|/gradio_api/queue/(join|data)|/gradio_api/heartbeat/[A-Za-z0-9_-]{1,64}"
    r"|/api/(search(/form)?|info|indexing|facets|openapi\.json)|/api/similar/[^/]+|/(healthz|readyz|metrics)",
    re.DOTALL,
)


class SecurityHeaders:
    """Adds HEADERS to every answer, except for those that the answer already has."""

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
    """Answers a request with the first refusal by a check. Without one, the application answers."""

    def __init__(self, app: ASGIApp, checks: Sequence[Check]) -> None:
        self._app, self._checks = app, checks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # no route uses one
            return await send({"type": "websocket.close", "code": 1008})
        refusals = (check(scope) for check in self._checks) if scope["type"] == "http" else ()
        await next(filter(None, refusals), self._app)(scope, receive, send)


class Gate:
    """Refuses requests with a foreign host name, from another site, or to a path that the page does not use.

    A foreign Host is a sign of DNS rebinding. A foreign Origin means that another site posts to this one.

    Args:
        hosts: names of the page, in addition to localhost, this machine's name and any IP address.
        uploads: the folder in which Gradio keeps uploads. Gradio may send only files in it.
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
            # DNS rebinding needs a name, so every IP address is safe.
            return name in self._hosts or ipaddress.ip_address(name) is not None
        except ValueError:
            return False

    def _is_for_the_page(self, path: str) -> bool:
        if path.startswith(self._uploads):
            return "/../" not in path
        return _PAGE_PATHS.fullmatch(path) is not None
