"""Gradio's page, built in a thread while the API already answers. No other import takes as long as Gradio's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from .bodies import MAX_UPLOAD_BYTES
from .gradio_import import import_gradio
from .library import Library

# Maximum number of opened pages for which Gradio keeps state. Each takes 52 KB, and this page needs none of it.
_SESSIONS = 500
# Seconds between Gradio's polls of its empty queue. Gradio's default of one millisecond takes processor time from
# searches and drains batteries.
_POLL_SECONDS = 0.005
# Seconds after which the page is built even if nobody has requested it. Until then the first search has the processor
# to itself.
_MOST_WAIT = 10.0
_LOOK_SECONDS = 0.02
# Maximum number of files in an upload. Each takes a descriptor until all have arrived; Gradio would accept 1,000.
_FILES_OF_UPLOAD = 100

log = logging.getLogger(__name__)


class LatePage:
    """The page, mounted before it exists. Requests for it wait until it is built.

    Args:
        app: the application. Requests pass its middleware before they reach the page.
        uploads: the folder of uploads.
        begin: an event that starts the build. The build also starts with the first request for the page, and after
            _MOST_WAIT at the latest. If the event is set when the application starts, the start waits for the page.
    """

    _one_at_a_time = threading.Lock()  # because an environment variable holds the folder of uploads

    def __init__(self, app: FastAPI, library: Library, uploads: str, begin: threading.Event) -> None:
        self._app, self._library, self._uploads, self._begin = app, library, uploads, begin
        self._thread = threading.Thread(target=self._build, daemon=True)
        self._started = threading.Lock()
        self._parent = FastAPI(openapi_url=None)
        self._blocks: Any = None
        self._page: ASGIApp | None = None
        self._failure: Exception | None = None
        self._waits_for_start = False
        self.functions: set[int] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        page = await self.ready()
        await page(scope, receive, send)

    async def ready(self) -> ASGIApp:
        """Wait for the page and return it.

        Raises:
            RuntimeError: it could not be built.
        """
        self._begin.set()
        self._start()
        while self._page is None or self._waits_for_start:
            if self._failure is not None:
                raise RuntimeError("the page could not be built") from self._failure
            await asyncio.sleep(_LOOK_SECONDS)
        return self._page

    def is_waited_for(self, session: str) -> bool:
        """Return whether the session with this name has sent an event and not received all of its answers."""
        return session in self._blocks._queue.pending_messages_per_session

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start to build the page, and run Gradio's background tasks until the end of the block."""
        self._waits_for_start = True
        self._start()
        stop = asyncio.Event()
        background = asyncio.create_task(self._run(stop))
        try:
            if self._begin.is_set():
                await self.ready()
            yield
        finally:
            stop.set()
            await background

    async def _run(self, stop: asyncio.Event) -> None:
        while self._page is None:
            if stop.is_set() or self._failure is not None:
                return
            await asyncio.sleep(_LOOK_SECONDS)
        async with self._parent.router.lifespan_context(self._parent):
            self._waits_for_start = False
            await stop.wait()

    def _start(self) -> None:
        with self._started:
            if self._thread.ident is None:
                self._thread.start()

    def _build(self) -> None:
        self._begin.wait(_MOST_WAIT)
        try:
            with self._one_at_a_time:
                asyncio.run(self._mount())
        except Exception as error:
            log.exception("the page could not be built")
            self._failure = error

    async def _mount(self) -> None:
        """Mount Gradio without its features that call other servers, or that store, share or serve more than the page.

        This is a coroutine because Gradio, if no event loop is running, creates loops that it never closes.
        """
        # Gradio reads these when it is imported and when the page is built.
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ["GRADIO_TEMP_DIR"] = self._uploads
        gr = import_gradio()

        from gradio.route_utils import GradioMultiPartParser as Parser

        from .appearance import appearance, leave_out_cards
        from .page import CONCURRENCY, Page

        leave_out_cards()
        Parser.max_files, Parser.max_fields = _always(_FILES_OF_UPLOAD), _always(0)  # fields would stay in memory
        blocks = Page(self._library).build().queue(default_concurrency_limit=CONCURRENCY, max_size=200, api_open=False)
        blocks.state_session_capacity = _SESSIONS
        blocks._queue.sleep_when_free = max(_POLL_SECONDS, blocks._queue.sleep_when_free)
        self._parent.user_middleware = self._app.user_middleware  # Gradio looks here for CORS
        gr.mount_gradio_app(
            self._parent, blocks, path="/", **appearance(), allowed_paths=[], max_file_size=MAX_UPLOAD_BYTES,
            show_error=False, run_history=False, enable_monitoring=False, ssr_mode=False, pwa=False, mcp_server=False,
        )  # fmt: skip
        # Gradio checks the files that a client names only after a 'launch', which a mounted page never has. Without
        # this line and `Events`, a client could have any file of the server copied to a place where it can be fetched.
        blocks.has_launched = True
        self.functions |= {index for index, function in blocks.fns.items() if function.fn}
        self._blocks = blocks
        self._page = self._parent.routes[-1].app  # type: ignore[attr-defined]  # Gradio's app, behind all middleware


def _always(value: int) -> Any:
    """Return a property that always has this value and ignores assignments."""
    return property(lambda _: value, lambda *_: None)
