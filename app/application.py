"""The web application: its own routes, then Gradio's page at '/', and the middleware in front of both."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.security import HTTPBasic
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from pipelines import __version__

from .access import Auth, RateLimit, StreamLimit, parse_credentials
from .api.monitoring import MeasureRequests, Metrics
from .api.readiness import Readiness
from .api.refusals import add_error_handlers
from .api.routes import api_routes
from .bodies import Bodies
from .connections import most_connections
from .details import detail_routes
from .downloads import download_routes
from .events import Events
from .late_page import LatePage
from .library import Library
from .media import Thumbnails, image_routes
from .methods import Methods
from .proxies import TrustedProxies, read_network
from .security import Check, Gate, Guard, SecurityHeaders
from .texts import text_routes
from .uploads import KeepUploads, Uploads

_EXPOSED = ["Content-Disposition", "Content-Range", "ETag", "Retry-After"]
# Paths whose requests call Milvus.
_ASKING = ("/api/", "/thumb/", "/preview/", "/image/", "/details/", "/folder/", "/download/", "/zip")


def build_app(
    library: Library,
    hosts: Sequence[str] = (),
    thumbnails: Thumbnails | None = None,
    on_start: Callable[[], None] = lambda: None,
    origins: Sequence[str] = (),
    indexing: APIRouter | None = None,
    page_after: threading.Event | None = None,
) -> FastAPI:
    """Build the application for one collection.

    Args:
        hosts: further host names of the page, for example behind a proxy.
        on_start: called when the application starts.
        origins: other origins whose pages may use the API.
        indexing: the routes for indexing by the page (`indexing_routes`); None for an application without them.
        page_after: `begin` of `LatePage`; None builds the page at once.
    """
    uploads, metrics, readiness, settings = Uploads(), Metrics(), Readiness(library), library.settings
    library.on_results = metrics.observe
    metrics.disk.labels("uploads").set_function(lambda: uploads.size)
    app = FastAPI(
        title="Image search", version=__version__, summary="Search images by words, by images and by both.",
        docs_url=None, redoc_url=None, openapi_url="/api/openapi.json",
        lifespan=_lifespan(on_start, uploads, readiness),
        generate_unique_id_function=lambda route: route.name,  # generated clients name their functions after it
        dependencies=[Depends(_Password(scheme_name="password"))] if settings.auth else [],
    )  # fmt: skip
    add_error_handlers(app)
    thumbnails = thumbnails or Thumbnails(allow_private=settings.allow_private_urls)
    metrics.disk.labels("thumbnails").set_function(lambda: thumbnails.cache.size)
    images = (image_routes(library, thumbnails), detail_routes(library), download_routes(library))
    routers: list[APIRouter] = [api_routes(library.searcher, metrics, readiness), *images, text_routes()]
    routers += [indexing] if indexing else []
    for router in routers:
        app.include_router(router)
    _add_favicon(app)
    os.environ["GRADIO_TEMP_DIR"] = uploads.folder
    if page_after is None:
        (page_after := threading.Event()).set()
    app.state.page = page = LatePage(app, library, uploads.folder, page_after)
    app.mount("/", page)
    _add_middleware(app, library, uploads, metrics, [*hosts], origins, routers)
    return app


def _add_middleware(
    app: FastAPI, library: Library, uploads: Uploads, metrics: Metrics, hosts: Sequence[str], origins: Sequence[str],
    routers: Sequence[APIRouter],
) -> None:  # fmt: skip
    """Add the middleware. The last one added sees a request first; a refusal passes through those added later."""
    settings = library.settings
    app.add_middleware(Compress)
    app.add_middleware(_Answering, library=library)
    app.add_middleware(Events, uploads=uploads.folder, page=app.state.page)
    app.add_middleware(KeepUploads, uploads=uploads)
    app.add_middleware(Bodies)
    app.add_middleware(StreamLimit, connections=most_connections())
    app.add_middleware(Methods, routes=[*app.routes, *(route for router in routers for route in router.routes)])
    checks: list[Check] = [Gate(hosts, uploads.folder, origins)]
    if settings.auth:
        checks.append(Auth(parse_credentials(settings.auth)))
    if settings.rate_limit:
        checks.append(RateLimit(settings.rate_limit))
    app.add_middleware(Guard, checks=checks)
    networks, has_names = [read_network(text) for text in settings.trusted_proxy], bool({*hosts} - {settings.host})
    app.add_middleware(TrustedProxies, networks=networks, has_names=has_names)
    # It runs before the password check, because a preflight request carries no password. Gradio looks for a middleware
    # of exactly this class. Without one, Gradio allows any origin, including credentials.
    app.add_middleware(
        CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "HEAD", "POST"],
        allow_headers=["Authorization", "Content-Type", "Range"], expose_headers=_EXPOSED,
    )  # fmt: skip
    app.add_middleware(MeasureRequests, metrics=metrics)
    app.add_middleware(SecurityHeaders)


class Compress:
    """Compresses the page, whose document contains its styles and script, its texts, and the answers of the API.

    The other answers are images, or Gradio has already compressed them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._compressing = app, GZipMiddleware(app, minimum_size=1000, compresslevel=5)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        compress = path in ("/", "/config") or path.startswith(("/api/", "/texts/"))
        await (self._compressing if compress else self._app)(scope, receive, send)


class _Answering:
    """Limits how long a request waits for a Milvus server. The page has the same limit, and probes a shorter one."""

    def __init__(self, app: ASGIApp, library: Library) -> None:
        self._app, self._library = app, library

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asks = scope["type"] == "http" and scope["path"].startswith(_ASKING)
        with self._library.answering() if asks else contextlib.nullcontext():
            await self._app(scope, receive, send)


class _Password(HTTPBasic):
    """Names HTTP Basic in the OpenAPI document. `Auth` checks the password."""

    async def __call__(self, request: Request) -> None:  # type: ignore[override]
        return None


def _lifespan(
    on_start: Callable[[], None], uploads: Uploads, readiness: Readiness
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        stop = threading.Event()
        threading.Thread(target=readiness.watch, args=[stop], daemon=True).start()
        on_start()
        async with app.state.page.running():
            yield
        stop.set()
        uploads.close()  # here, because `atexit` does not run after SIGTERM

    return lifespan


def _add_favicon(app: FastAPI) -> None:
    # Gradio's `favicon_path` would also enable a route that resizes the icon to any size.
    icon = (Path(__file__).parent / "static" / "favicon.svg").read_bytes()

    @app.get("/favicon.ico", include_in_schema=False)
    def favicon() -> Response:
        return Response(icon, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})
