"""Request bodies: limited in size, stored until they are complete, and read by the application a few at a time."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from typing import IO
from weakref import WeakValueDictionary

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .api.refusals import refuse
from .proxies import client_of
from .uploads import UPLOAD_PATH

MAX_UPLOAD_BYTES = 25 * 2**20
MAX_BODY_BYTES = 2**20
UPLOAD_PATHS = (UPLOAD_PATH, "/api/search", "/api/search/form")
# Maximum bytes of stored bodies: of one client, and of all clients.
MOST_OF_CLIENT, MOST_OF_ALL = 100 * 2**20, 2**30
# Bytes above which a body is large, and the number of large bodies that are read at a time: parsing JSON takes several
# times its size in memory. One client gets only one at a time, so that its slow images do not hold up other clients.
_LARGE, _LARGE_AT_ONCE = 2**16, 2
# Maximum number of values in a body. All other requests wait while JSON is parsed and each of its values is validated.
# A filter may list some thousand values.
_MOST_VALUES = 20_000


class Bodies:
    """Passes a request on when its body is complete. Refuses a body whose declared or actual size is too large.

    Bodies of more than 64 KB are on disk. So those that clients never finish take little memory, and the application
    does not see them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._on_disk: Counter[str] = Counter()  # bytes by client
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return await self._app(scope, receive, send)
        client, before = client_of(scope), 0
        with tempfile.SpooledTemporaryFile(_LARGE) as body:
            try:
                async for size in self._write(scope, receive, body):
                    self._on_disk[client] += size - before
                    before = size
                    if self._on_disk[client] > MOST_OF_CLIENT or sum(self._on_disk.values()) > MOST_OF_ALL:
                        raise _Refused(503, "Too many uploads at the same time; wait a moment.")
                await self._pass_on(scope, body, receive, send)
            except _Refused as error:
                refusal = refuse(scope, error.status, str(error), {"Connection": "close", **error.headers})
                await refusal(scope, receive, send)
            except _Gone:
                pass
            finally:
                self._on_disk[client] -= before
                if not self._on_disk[client]:
                    del self._on_disk[client]

    async def _write(self, scope: Scope, receive: Receive, body: IO[bytes]) -> AsyncIterator[int]:
        """Write a body to a file. Before each chunk is written, yield the size of the body up to and including it."""
        limit = MAX_UPLOAD_BYTES if scope["path"].rstrip("/") in UPLOAD_PATHS else MAX_BODY_BYTES
        too_large = _Refused(413, f"The request is larger than {limit >> 20} MB.")
        headers = Headers(scope=scope)
        is_form = headers.get("content-type", "").lower().startswith("multipart/")  # its files may contain any bytes
        declared, size, commas, more = headers.get("content-length", "0"), 0, 0, True
        if not declared.isdigit() or len(declared) > 20 or int(declared) > limit:
            raise too_large
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise _Gone
            chunk, more = message.get("body", b""), message.get("more_body", False)
            size += len(chunk)
            commas += 0 if is_form else chunk.count(b",")
            if size > limit:
                raise too_large
            if commas > _MOST_VALUES:
                raise _Refused(413, f"The request has more than {_MOST_VALUES:,} values.")
            yield size
            body.write(chunk)

    async def _pass_on(self, scope: Scope, body: IO[bytes], receive: Receive, send: Send) -> None:
        """Let the application answer. A large body keeps its turn until the answer begins."""
        size, more = body.tell(), True
        turn = contextlib.AsyncExitStack()
        if size > _LARGE:
            await turn.enter_async_context(self._turns.setdefault(client_of(scope), asyncio.Lock()))
            if scope["path"].rstrip("/") != UPLOAD_PATH:  # its files go to disk, one upload at a time: `KeepUploads`
                await turn.enter_async_context(self._large)
        body.seek(0)

        async def replay() -> Message:
            nonlocal more
            if not more:
                return await receive()
            chunk = body.read(_LARGE)
            more = body.tell() < size
            return {"type": "http.request", "body": chunk, "more_body": more}

        async def send_and_end_turn(message: Message) -> None:
            await turn.aclose()
            await send(message)

        async with turn:
            await self._app(scope, replay, send_and_end_turn)


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.headers = status, {"Retry-After": "5"} if status == 503 else {}


class _Gone(Exception):
    """The client closed the connection."""
