"""Read and check every event of the page before Gradio sees it."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .api.refusals import refuse
from .late_page import LatePage
from .uploads import UPLOAD_PATH

EVENT_PATH = "/gradio_api/queue/join"
_ANSWERS_PATH = "/gradio_api/queue/data"
_SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DEEPEST = 20
_LARGEST = 2**53  # up to here JavaScript's whole numbers are exact


class Events:
    """Refuses events that the page never sends. Passes on only what it has parsed, written again as JSON in UTF-8.

    An event that Gradio cannot handle ends in a traceback. A single session whose name cannot be printed makes the
    searches of all later sessions fail. Gradio may take any value of an event for a 'file': it copies the path or URL
    that the value names into the folder of uploads, where every client can fetch it.

    Args:
        uploads: the folder of uploads. An event may name only files in it.
        page: knows the functions of the page and which sessions wait for answers.
    """

    def __init__(self, app: ASGIApp, uploads: str, page: LatePage) -> None:
        self._app, self._uploads, self._page = app, uploads.rstrip("/") + "/", page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "").rstrip("/")
        if path in (_ANSWERS_PATH, EVENT_PATH):
            await self._page.ready()  # a browser may have had the page open before this process started
        if path == _ANSWERS_PATH and not self._page.is_waited_for(_session_in(scope)):
            return await refuse(scope, 404, "Nothing was asked in this session.")(scope, receive, send)
        if scope.get("method") != "POST" or not path.startswith("/gradio_api/") or path == UPLOAD_PATH:
            return await self._app(scope, receive, send)
        try:
            event = _read(await Request(scope, receive).body())
        except (ValueError, RecursionError):
            return await refuse(scope, 400, "This is no event of the page.")(scope, receive, send)
        if not all(self._is_upload(name) for name in _named_files(event)):
            return await refuse(scope, 403, "Only uploads can be used.")(scope, receive, send)
        if path == EVENT_PATH and not self._is_of_the_page(event):
            return await refuse(scope, 400, "This is no event of the page.")(scope, receive, send)
        body = json.dumps(event, ensure_ascii=False).encode(errors="ignore")
        unread: list[Message] = [{"type": "http.request", "body": body}]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        headers = [
            (name, value) for name, value in scope["headers"] if name not in (b"content-length", b"content-type")
        ]
        headers += [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
        await self._app({**scope, "headers": headers}, replay, send)

    def _is_of_the_page(self, event: dict[str, Any]) -> bool:
        session, data, trigger = event.get("session_hash"), event.get("event_data"), event.get("trigger_id")
        return (
            isinstance(session, str) and _SESSION.fullmatch(session) is not None
            and type(event.get("fn_index")) is int and event["fn_index"] in self._page.functions
            and event.get("data") == []
            and (data is None or isinstance(data, dict))
            and (trigger is None or type(trigger) is int)
            and not (event.get("batched") or event.get("simple_format") or event.get("oauth_token"))
        )  # fmt: skip

    def _is_upload(self, path: object) -> bool:
        return isinstance(path, str) and os.path.realpath(path).startswith(self._uploads)


def _session_in(scope: Scope) -> str:
    return QueryParams(scope["query_string"]).get("session_hash", "")


def _read(body: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        ValueError: the body is not one, is nested too deeply, or contains numbers that JavaScript does not have.
    """
    event = json.loads(body, parse_constant=_refuse, parse_int=_read_int, parse_float=_read_float)
    if not isinstance(event, dict) or _depth(event) > _DEEPEST:
        raise ValueError("no object, or nested too deeply")
    return event


def _read_int(digits: str) -> int:
    if len(digits) > 20 or abs(number := int(digits)) > _LARGEST:
        raise ValueError("a number that is too large")
    return number


def _read_float(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise ValueError("a number that is too large")
    return number


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _depth(value: Any) -> int:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, items), default=0)


def _named_files(value: Any) -> Iterator[object]:
    """Yield every value under the key 'path', at any depth. Gradio may take it for the name of a file."""
    if isinstance(value, dict):
        if value.get("path") is not None:
            yield value["path"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _named_files(item)
