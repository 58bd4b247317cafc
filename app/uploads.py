"""The images that clients upload on the page. They are stored in a private folder of limited size."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import tempfile
import threading
from collections import Counter
from pathlib import Path

from filelock import FileLock, Timeout
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .api.refusals import refuse
from .proxies import client_of

log = logging.getLogger(__name__)

# Maximum bytes of the uploads of one client and of all, and maximum number of files. Above them the oldest are removed.
# The page needs an upload only for a moment, until its query image is made.
MOST_OF_CLIENT, MOST_OF_ALL, MOST_FILES = 100 * 2**20, 2**30, 1_000
UPLOAD_PATH = "/gradio_api/upload"
_PREFIX = "image-search-"
_LOCK = ".running"  # locked as long as the process that made the folder is running


class Uploads:
    """The upload folder of this process, which no other user of this machine may read."""

    def __init__(self) -> None:
        _remove_leftovers()
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = FileLock(Path(self.folder, _LOCK), thread_local=False)
        self._lock.acquire()
        self._kept: dict[str, tuple[str, int]] = {}  # client and size in bytes by path, the oldest first
        self._changing = threading.Lock()

    @property
    def size(self) -> int:
        """The bytes of all uploads together."""
        with self._changing:
            return sum(size for _, size in self._kept.values())

    def keep(self, client: str, paths: list[str]) -> None:
        """Keep the files that a client has just uploaded. Remove unknown files, which refused uploads left behind."""
        with self._changing:
            for path in paths:
                self._kept.pop(path, None)
                with contextlib.suppress(OSError):
                    self._kept[path] = (client, os.path.getsize(path))
            self._forget_oldest(client)
            self._remove_others()

    def close(self) -> None:
        """Remove the folder."""
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _forget_oldest(self, client: str) -> None:
        total, by_client = 0, Counter[str]()
        for count, (path, (owner, size)) in enumerate(reversed(list(self._kept.items())), 1):
            total += size
            by_client[owner] += size
            if by_client[owner] > MOST_OF_CLIENT or total > MOST_OF_ALL or count > MOST_FILES:
                del self._kept[path]

    def _remove_others(self) -> None:
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = os.path.join(folder, name)
                if path not in self._kept and name != _LOCK:
                    with contextlib.suppress(OSError):
                        os.unlink(path)
            if folder != self.folder:
                with contextlib.suppress(OSError):  # the folder may not be empty
                    os.rmdir(folder)


class KeepUploads:
    """Registers uploaded files. Uploads run one at a time, so that the file of one is not taken for a leftover."""

    def __init__(self, app: ASGIApp, uploads: Uploads) -> None:
        self._app, self._uploads = app, uploads
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].rstrip("/") != UPLOAD_PATH:
            return await self._app(scope, receive, send)
        answer: list[Message] = []

        async def collect(message: Message) -> None:
            answer.append(message)

        # The query string is removed, because it makes Gradio remember the progress of each upload.
        quiet = {**scope, "query_string": b""}
        async with self._turn:
            try:
                await self._app(quiet, receive, collect)
            except Exception as error:  # Gradio's parser raises almost any exception
                log.warning("an upload could not be read: %s: %s", type(error).__name__, error)
                answer.clear()
                await refuse(scope, 400, "This is no upload of the page.")(scope, receive, collect)
            await asyncio.to_thread(self._uploads.keep, client_of(scope), _paths_in(answer))
        for message in answer:  # after the turn, so that a client that reads slowly does not hold up others
            await send(message)


def _paths_in(answer: list[Message]) -> list[str]:
    body = b"".join(message.get("body", b"") for message in answer)
    with contextlib.suppress(ValueError):
        if isinstance(paths := json.loads(body), list):
            return [path for path in paths if isinstance(path, str)]
    return []


def _remove_leftovers() -> None:
    """Remove the folders of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        lock = FileLock(folder / _LOCK)
        with contextlib.suppress(Timeout, OSError):
            # In a folder of another user, the lock could be a link to any file.
            if not hasattr(os, "getuid") or folder.lstat().st_uid != os.getuid() or not (folder / _LOCK).is_file():
                continue
            lock.acquire(timeout=0)
            lock.release()
            shutil.rmtree(folder, ignore_errors=True)
