"""The web application: own routes first, Gradio's page at '/', and in front of both what keeps them safe."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from fastapi import FastAPI, Response
from starlette.middleware.cors import CORSMiddleware

from pipelines.errors import InputError
from pipelines.settings import Settings

from .api.document import add_document
from .api.errors import add_error_handlers
from .api.metrics import MeasureRequests, Metrics
from .api.routes import Service, api_routes
from .auth import Auth, parse_credentials
from .compression import CompressPage
from .library import Library
from .limits import RateLimit
from .media import image_routes
from .security import MAX_UPLOAD_BYTES, BodyLimit, Gate, OnlyUploads, SecurityHeaders
from .thumbnails import Thumbnails


def build_app(library: Library, hosts: Iterable[str] = (), thumbnails: Thumbnails | None = None) -> FastAPI:
    """The application for one collection.

    Args:
        hosts: further names the page may be reached under, behind a proxy for example.
    """
    uploads, metrics, settings = _private_uploads(), Metrics(), library.settings
    app = FastAPI(
        title="Image search", version="1", summary="Search images by words, by images and by both.",
        docs_url=None, redoc_url=None, openapi_url="/api/openapi.json", lifespan=_removing(uploads),
    )  # fmt: skip
    add_error_handlers(app)
    add_document(app, with_password=bool(settings.auth))
    app.state.service = service = Service(library, metrics)
    app.include_router(api_routes(service))
    app.include_router(image_routes(library, thumbnails or Thumbnails(allow_private=settings.allow_private_urls)))
    _add_favicon(app)
    _mount_page(app, library)
    # The last one added is the first to see a request, and all refusals pass those added after it.
    app.add_middleware(CompressPage)
    # Without an origin named here Gradio answers every foreign one, credentials included, outside of localhost.
    app.add_middleware(CORSMiddleware, allow_origins=[])
    app.add_middleware(OnlyUploads, uploads=uploads)
    app.add_middleware(BodyLimit)
    if settings.rate_limit:
        app.add_middleware(RateLimit, rate=settings.rate_limit)
    if settings.auth:
        app.add_middleware(Auth, credentials=parse_credentials(settings.auth))
    app.add_middleware(Gate, hosts=list(hosts), uploads=uploads)
    app.add_middleware(MeasureRequests, metrics=metrics)
    app.add_middleware(SecurityHeaders)
    return app


def serve(library: Library, listener: socket.socket, hosts: Iterable[str] = ()) -> None:
    """Answers until Ctrl-C, and says when it has begun to."""
    import uvicorn

    app = build_app(library, hosts)

    class AnnouncingServer(uvicorn.Server):
        async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
            await super().startup(list(sockets or ()))
            if self.started:
                print(f"Search page: {address_of(listener)} (Ctrl-C stops it)", flush=True)
                # Not before: the page opens while the first query's pipeline is still being built.
                threading.Thread(target=_warm_up, args=[app.state.service], daemon=True).start()

    # The page's event streams stay open for ever: after a second they are cut.
    config = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=1)
    AnnouncingServer(config).run([listener])


def listen(host: str, port: int) -> socket.socket:
    """Takes the address before anything slow is loaded.

    Raises:
        InputError: it is taken, or not this machine's.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        reason = "is another page running? choose another with --port" if error.errno else "choose another with --host"
        raise InputError(f"cannot listen on {host}:{port}: {error.strerror}; {reason}") from error
    except OverflowError as error:
        raise InputError(f"--port must be between 0 and 65535, not {port}") from error
    return listener


def check_settings(settings: Settings) -> None:
    """Fails early, before anything slow is loaded.

    Raises:
        InputError: a setting of the page's own cannot be used.
    """
    if settings.auth:
        parse_credentials(settings.auth)
    if settings.rate_limit < 0:
        raise InputError("--rate-limit cannot be negative")


def address_of(listener: socket.socket) -> str:
    """Where a browser on this machine finds the page."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"


def _mount_page(app: FastAPI, library: Library) -> None:
    """Gradio's part, with everything off that could reach out, keep, share or serve more than the page."""
    # Read while Gradio is imported and while the page is built: off before either.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr

    from .page import CONCURRENCY, Page, appearance

    blocks = Page(library).build().queue(default_concurrency_limit=CONCURRENCY, max_size=200, api_open=False)
    gr.mount_gradio_app(
        app, blocks, path="/", **appearance(), allowed_paths=[], max_file_size=MAX_UPLOAD_BYTES,
        show_error=False, run_history=False, enable_monitoring=False, ssr_mode=False, pwa=False, mcp_server=False,
    )  # fmt: skip
    # Gradio only checks what files a client names where it has 'launched', which a mounted page never has; without
    # this line and OnlyUploads, anyone could have any file of the server copied to where it can be fetched.
    blocks.has_launched = True


def _private_uploads() -> str:
    """A folder for uploads that nobody else on this machine may read."""
    folder = os.path.realpath(tempfile.mkdtemp(prefix="image-search-"))
    os.environ["GRADIO_TEMP_DIR"] = folder
    return folder


def _removing(folder: str) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    """A lifespan that removes a folder at its end; `atexit` is not run after SIGTERM."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        shutil.rmtree(folder, ignore_errors=True)

    return lifespan


def _add_favicon(app: FastAPI) -> None:
    # Not Gradio's `favicon_path`: that also opens an icon resizer without a limit.
    from pathlib import Path

    icon = (Path(__file__).parent / "static" / "favicon.svg").read_bytes()

    @app.get("/favicon.ico", include_in_schema=False)
    def favicon() -> Response:
        return Response(icon, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})


def _warm_up(service: Service) -> None:
    with contextlib.suppress(Exception):  # the first visitor meets it too, and is told
        service.searcher()  # from here on the page's searches are measured as well
        service.library.warm_up()
