"""The page's own document, compressed: with its styles, script and six languages inside it is the largest answer."""

from __future__ import annotations

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_PATHS = frozenset({"/", "/config"})


class CompressPage:
    """Compresses what is text and large. All else is small, an image, or sent compressed by Gradio already."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._compressing = app, GZipMiddleware(app, minimum_size=1000)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on."""
        compress = scope["type"] == "http" and scope["path"] in _PATHS
        await (self._compressing if compress else self._app)(scope, receive, send)
