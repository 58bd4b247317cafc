"""The web application: its own routes first, Gradio's page at '/', and the checks before both."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import uvicorn
from fastapi import Depends, FastAPI, Request, Response
from fastapi.security import HTTPBasic
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from pipelines import __version__
from pipelines.errors import CollectionNotFound, InputError
from pipelines.milvus.connection import close_all
from pipelines.settings import Settings, env_name

from .access import Auth, RateLimit, parse_credentials
from .api.monitoring import MeasureRequests, Metrics
from .api.readiness import Readiness
from .api.refusals import add_error_handlers
from .api.routes import api_routes
from .library import Library
from .media import Thumbnails, image_routes
from .methods import Methods
from .proxies import TrustedProxies, read_network
from .security import MAX_UPLOAD_BYTES, BodyLimit, Check, Gate, Guard, OnlyUploads, SecurityHeaders

_ORIGIN = re.compile(r"\*|https?://[^/\s,@]+")
_EXPOSED = ["Content-Disposition", "Content-Range", "ETag", "Retry-After"]
_LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(settings: Settings, allowed_hosts: Iterable[str] = (), origins: Sequence[str] = ()) -> None:
    """Serve the search page and the API until Ctrl-C.

    Args:
        allowed_hosts: further host names of the page, behind a proxy for example.
        origins: other origins (`https://example.org`, or `*`) whose pages may use the API.

    Raises:
        InputError: a setting of the page is not valid, or its address cannot be used.
        SearchError: the database or the model is not available.
    """
    if settings.auth:
        parse_credentials(settings.auth)
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise InputError(f"--allow-origin takes origins such as https://example.org, or *; not '{origin}'")
    if settings.rate_limit < 0:
        raise InputError("--rate-limit cannot be negative")
    listener = listen(settings.host, settings.port)
    if settings.host not in _LOCAL and not settings.auth:
        print(
            "warning: everyone who can reach this machine sees these images; set a password with "
            f"{env_name('auth')}=user:password",
            file=sys.stderr,
        )
    library = Library(settings)

    def announce() -> None:
        print(f"Search page: {_address_of(listener)} (Ctrl-C stops it)\n{contents}", flush=True)
        # Not earlier: the page opens while the pipeline of the first query is being built.
        threading.Thread(target=_warm_up, args=[library], daemon=True).start()

    try:
        contents = _describe_contents(library)
        app = build_app(library, [settings.host, *allowed_hosts], on_start=announce, origins=origins)
        # The event streams of the page never end: they are cut after a second.
        config = uvicorn.Config(
            app, log_level="warning", server_header=False, timeout_graceful_shutdown=1,
            proxy_headers=False,  # uvicorn would believe every program of this machine; see `TrustedProxies`
        )  # fmt: skip
        uvicorn.Server(config).run([listener])
    finally:
        close_all()


def build_app(
    library: Library,
    hosts: Iterable[str] = (),
    thumbnails: Thumbnails | None = None,
    on_start: Callable[[], None] = lambda: None,
    origins: Sequence[str] = (),
) -> FastAPI:
    """Build the application for one collection.

    Args:
        hosts: further host names of the page, behind a proxy for example.
        on_start: called when the application starts.
        origins: other origins whose pages may use the API.
    """
    uploads, metrics, readiness, settings = _private_uploads(), Metrics(), Readiness(library), library.settings
    library.on_results = metrics.observe
    app = FastAPI(
        title="Image search", version=__version__, summary="Search images by words, by images and by both.",
        docs_url=None, redoc_url=None, openapi_url="/api/openapi.json",
        lifespan=_lifespan(on_start, uploads, readiness),
        generate_unique_id_function=lambda route: route.name,  # clients that are generated name their functions so
        dependencies=[Depends(_Password(scheme_name="password"))] if settings.auth else [],
    )  # fmt: skip
    add_error_handlers(app)
    thumbnails = thumbnails or Thumbnails(allow_private=settings.allow_private_urls)
    routers = (api_routes(library.searcher, metrics, readiness), image_routes(library, thumbnails))
    for router in routers:
        app.include_router(router)
    _add_favicon(app)
    asyncio.run(_mount_page(app, library))
    # Middleware that is added later sees a request earlier, and refusals pass all that was added after them.
    app.add_middleware(Compress)
    app.add_middleware(OnlyUploads, uploads=uploads)
    app.add_middleware(BodyLimit)
    app.add_middleware(Methods, routes=[route for part in (app, *routers) for route in part.routes])
    checks: list[Check] = [Gate(hosts, uploads, origins)]
    if settings.auth:
        checks.append(Auth(parse_credentials(settings.auth)))
    if settings.rate_limit:
        checks.append(RateLimit(settings.rate_limit))
    app.add_middleware(Guard, checks=checks)
    app.add_middleware(TrustedProxies, networks=[read_network(text) for text in settings.trusted_proxy])
    # Before the password, which a preflight request does not have. Where Gradio finds no middleware of this very class,
    # it allows any origin, credentials included.
    app.add_middleware(
        CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "HEAD", "POST"],
        allow_headers=["Authorization", "Content-Type", "Range"], expose_headers=_EXPOSED,
    )  # fmt: skip
    app.add_middleware(MeasureRequests, metrics=metrics)
    app.add_middleware(SecurityHeaders)
    return app


def listen(host: str, port: int) -> socket.socket:
    """Open the port before anything slow is loaded.

    Raises:
        InputError: the port is in use, or the host is not an address of this machine.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # asyncio sets TCP_NODELAY on connections of a socket that names its protocol. Without it, each answer of two
        # writes waits 40 ms for the client's delayed acknowledgement.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        reason = "is another page running? choose another with --port" if error.errno else "choose another with --host"
        raise InputError(f"cannot listen on {host}:{port}: {error.strerror}; {reason}") from error
    except OverflowError as error:
        raise InputError(f"--port must be between 0 and 65535, not {port}") from error
    return listener


class Compress:
    """Compresses the page, whose document holds its styles, its script and six languages, and the API's answers.

    Other answers are images, or Gradio has compressed them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._compressing = app, GZipMiddleware(app, minimum_size=1000, compresslevel=5)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        compress = path in ("/", "/config") or path.startswith("/api/")
        await (self._compressing if compress else self._app)(scope, receive, send)


class _Password(HTTPBasic):
    """Names HTTP Basic in the OpenAPI document. `Auth` checks the password."""

    async def __call__(self, request: Request) -> None:  # type: ignore[override]
        return None


def _describe_contents(library: Library) -> str:
    name = library.settings.collection
    try:
        return f"Images in the collection '{name}': {library.searcher().collection.count(strong=False):,}"
    except CollectionNotFound:
        return f"There is no collection '{name}' yet. Fill it with: {library.insert_command}"


def _address_of(listener: socket.socket) -> str:
    """Return the address of the page for a browser on this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"


def _warm_up(library: Library) -> None:
    with contextlib.suppress(Exception):  # the first search meets the same error and shows it
        library.warm_up()


async def _mount_page(app: FastAPI, library: Library) -> None:
    """Mount Gradio without anything that could reach out, or keep, share or serve more than the page.

    A coroutine, because Gradio makes event loops that it never closes, unless one is running.
    """
    # Gradio reads this when it is imported and when the page is built.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr

    from .page import CONCURRENCY, Page, appearance

    blocks = Page(library).build().queue(default_concurrency_limit=CONCURRENCY, max_size=200, api_open=False)
    gr.mount_gradio_app(
        app, blocks, path="/", **appearance(), allowed_paths=[], max_file_size=MAX_UPLOAD_BYTES,
        show_error=False, run_history=False, enable_monitoring=False, ssr_mode=False, pwa=False, mcp_server=False,
    )  # fmt: skip
    # Gradio checks the files that a client names only after a 'launch', which a mounted page never has. Without this
    # line and OnlyUploads a client could have any file of the server copied to where it can be fetched.
    blocks.has_launched = True


def _private_uploads() -> str:
    """Make a folder for uploads that no other user of this machine may read."""
    folder = os.path.realpath(tempfile.mkdtemp(prefix="image-search-"))
    os.environ["GRADIO_TEMP_DIR"] = folder
    return folder


def _lifespan(
    on_start: Callable[[], None], uploads: str, readiness: Readiness
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        stop = threading.Event()
        threading.Thread(target=readiness.watch, args=[stop], daemon=True).start()
        on_start()
        yield
        stop.set()
        shutil.rmtree(uploads, ignore_errors=True)  # `atexit` does not run after SIGTERM

    return lifespan


def _add_favicon(app: FastAPI) -> None:
    # Gradio's `favicon_path` would also open an icon resizer without a limit.
    icon = (Path(__file__).parent / "static" / "favicon.svg").read_bytes()

    @app.get("/favicon.ico", include_in_schema=False)
    def favicon() -> Response:
        return Response(icon, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})
