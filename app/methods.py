"""Add HEAD wherever there is GET, and 405 with `Allow` for methods that a path does not support."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .api.monitoring import STREAMS
from .api.refusals import refuse


class Methods:
    """Answers HEAD like GET without a body, OPTIONS with `Allow`, and unsupported methods with 405.

    Gradio is mounted after the routes and takes every request that they do not match. Without this class, it would
    answer an unsupported method with 404.

    Args:
        routes: the application's routes. Gradio itself answers unsupported methods on its own paths.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._routes = [(route.path_regex, route.methods or set()) for route in routes if isinstance(route, Route)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        path, method = scope["path"], scope["method"]
        taken = {name for pattern, names in self._routes if pattern.match(path) for name in names}
        if "GET" in taken:
            taken.add("HEAD")
        if taken and method not in taken:
            allow = {"Allow": ", ".join(sorted({*taken, "OPTIONS"}))}
            answer = refuse(scope, 405, f"This address does not take {method}.", allow)
            return await (Response(None, 204, allow) if method == "OPTIONS" else answer)(scope, receive, send)
        if method != "HEAD" or path.startswith(STREAMS):  # a stream never ends, so HEAD would wait forever
            return await self._app(scope, receive, send)

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, send_without_body)
