"""Calls of Milvus: how long each waits, when it is retried, and which error of this project it raises."""

from __future__ import annotations

import copy
import math
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

from ..errors import CollectionNotFound, InputError, SearchError, StoreError, StoreFull, StoreRefused, StoreUnavailable
from ..forks import refuse_fork

T = TypeVar("T")

# Rows per call: the fastest number for Milvus Lite, and far below a server's limit of 64 MB per message.
ROWS_PER_CALL = 1000
# Calls that take the user's filter: if Milvus refuses one of these, the user can change the filter.
_TAKES_FILTER = ("search", "query", "query_iterator")
# A server that answers within this time is alive, however long the previous call took.
_ALIVE_SECONDS = 0.5
# Minimum time of a call, even if its request has no time left. A live server answers most calls within milliseconds.
_LEAST_SECONDS = 0.2
_NO_ANSWER = "Milvus does not answer; try again in a moment"


class Patience(NamedTuple):
    """Seconds to wait.

    gone: for one call, while no server can be reached.
    loading: for one call, while the server loads the collection or is busy.
    answer: for one answer of a silent server; 0 waits for ever.
    together: for all calls of one request, while the server is silent or cannot be reached.
    columns: for the first read of a collection's columns, which another thread does.
    """

    gone: float = 180.0
    loading: float = 180.0
    answer: float = 0.0
    together: float = math.inf
    columns: float = threading.TIMEOUT_MAX


# An insert continues when the server is back. A search reports within three seconds that the server cannot be reached.
# A killed server loads its collections half a minute after it answers again: a search waits for this, a probe reports
# it. The page shows the user how many rows have been read so far.
PATIENT = Patience()
SEARCHING = Patience(gone=1.0, loading=60.0, answer=1.5, together=2.0)
SHOWING = SEARCHING._replace(columns=1.5)
PROBING = Patience(gone=0.0, loading=1.0, answer=1.0, together=1.5)


class _Waiting:
    """The waiting time that the calls of one request share. Once the server cannot be reached, no call tries again."""

    def __init__(self, limits: Patience) -> None:
        self.limits = limits
        self.until = time.monotonic() + limits.together
        self.failure: StoreUnavailable | None = None

    def left(self) -> float:
        """Return the seconds that all calls have left, at least enough for one short call."""
        return max(_LEAST_SECONDS, self.until - time.monotonic())


_waiting: ContextVar[_Waiting] = ContextVar("waiting", default=_Waiting(PATIENT))  # noqa: B039  never changed


@contextmanager
def patience(limits: Patience) -> Iterator[None]:
    """Limit how long the calls in the body wait, including those of threads that inherit the context.

    Inside another such block the outer limits hold, because it is the same request.
    """
    if _waiting.get().limits is not PATIENT:
        yield
        return
    token = _waiting.set(_Waiting(limits))
    try:
        yield
    finally:
        _waiting.reset(token)


def seconds_for_columns() -> float:
    """Return how many seconds this request waits for columns that are being read."""
    return _waiting.get().limits.columns


def is_probing() -> bool:
    """Return whether this request gives up sooner than a search would."""
    return _waiting.get().limits is PROBING


@contextmanager
def in_turn(lock: threading.Lock) -> Iterator[None]:
    """Hold a lock under which Milvus is called. Wait for the lock no longer than `patience` allows.

    Raises:
        StoreUnavailable: another thread held the lock too long, waiting for an answer.
    """
    if not lock.acquire(timeout=min(_waiting.get().left(), threading.TIMEOUT_MAX)):
        raise StoreUnavailable(_NO_ANSWER)
    try:
        yield
    finally:
        lock.release()


def call(function: Callable[..., T], *args: Any, deadline: float = math.inf, **kwargs: Any) -> T:
    """Call Milvus; retry with back-off while it cannot be reached.

    Only for calls that can be repeated: upsert, delete, search, query, get, load, flush; never insert.

    Args:
        deadline: seconds after which an unreachable Milvus is an error, if that is sooner than `patience` allows.

    Raises:
        SearchError: the class that `classify` returns, with a message of one line.
    """
    refuse_fork()
    waiting, start, pause, name = _waiting.get(), time.monotonic(), 0.2, getattr(function, "__name__", "")
    limits, is_slow = waiting.limits, name == "load_collection"
    if waiting.failure is not None:
        raise copy.copy(waiting.failure)
    while True:
        if limits.answer and name != "next":  # an iterator keeps the timeout that it was created with
            kwargs["timeout"] = limits.loading if is_slow else min(limits.answer, waiting.left())
        try:
            return function(*args, **kwargs)
        except Exception as error:
            kind = classify(error)
            if kind is None:
                raise
            if kind is InputError and name not in _TAKES_FILTER:
                kind = StoreError
            if kind is StoreUnavailable and limits.answer and not is_slow and _is_only_slow(function, error):
                is_slow = True
                continue
            is_loading = _is_loading(error)
            most = min(limits.loading if is_loading else min(limits.gone, waiting.left()), deadline)
            if kind is not StoreUnavailable or time.monotonic() - start >= most:
                failure = kind(_message(kind, error))
                if isinstance(failure, StoreUnavailable) and limits.answer and not is_loading:
                    waiting.failure = failure
                raise failure from error
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(5.0, pause * 2)


def chunked(items: Sequence[T], size: int = ROWS_PER_CALL) -> Iterator[Sequence[T]]:
    """Yield slices of at most `size` items, one for each call."""
    return (items[start : start + size] for start in range(0, len(items), size))


# A server says "context done" when it gives up a request whose client has given up. It says just "unrecoverable error"
# when it has to load a collection before it has noticed that its components from before a restart are gone.
_GONE = ("fail connecting", "rate limit", "context done", "context canceled", "unrecoverable error")


def classify(error: BaseException) -> type[SearchError] | None:
    """Return this project's error for one of pymilvus's (MilvusException, grpc.RpcError), None for any other."""
    import grpc
    from pymilvus.exceptions import MilvusException

    text = str(error).lower()
    transient = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED)
    if _grpc_status(error) is grpc.StatusCode.UNAUTHENTICATED:
        return StoreRefused
    if isinstance(error, grpc.RpcError):
        status = _grpc_status(error)
        return StoreUnavailable if status in transient else StoreError
    if not isinstance(error, MilvusException):
        return None
    if "errno 28" in text or "no space left" in text:
        return StoreFull
    if error.code in (4, 100) or "can't find collection" in text:
        return CollectionNotFound
    if "auth" in text and ("fail" in text or "check" in text):
        return StoreRefused
    # pymilvus uses a gRPC status as the code when its own time for retries is over.
    if error.code in (2, 8, *transient) or any(words in text for words in _GONE):
        return StoreUnavailable
    if _is_loading(error):  # a restarted server answers before it has loaded its collections
        return StoreUnavailable
    if "expression" in text or error.code == 6:
        return InputError
    return StoreError


def _is_loading(error: BaseException) -> bool:
    text = str(error).lower()
    return any(words in text for words in ("not loaded", "not fully loaded", "loading collection timeout"))


def _is_only_slow(function: Callable[..., Any], error: BaseException) -> bool:
    """Return whether a server that did not answer in time is alive but busy."""
    import grpc

    if _grpc_status(error) is not grpc.StatusCode.DEADLINE_EXCEEDED:
        return False
    with suppress(Exception):
        function.__self__.get_server_version(timeout=_ALIVE_SECONDS)  # type: ignore[attr-defined]
        return True
    return False


def _grpc_status(error: BaseException) -> Any:
    """Return the gRPC status of an error or of its cause: pymilvus hides a wrong token behind 'Fail connecting'."""
    import grpc

    for each in (error, error.__cause__):
        if isinstance(each, grpc.RpcError) and callable(getattr(each, "code", None)):
            return each.code()
    return None


def _message(kind: type[SearchError], error: BaseException) -> str:
    reason = first_line(error)
    if kind is StoreFull:
        return f"the disk is full; free some space and run the same command again ({reason})"
    if kind is StoreUnavailable and _waiting.get().limits is not PATIENT:
        if _is_loading(error):
            return "Milvus is loading the collection; try again in a moment"
        return _NO_ANSWER
    if kind is StoreUnavailable:
        return f"Milvus went away and did not come back; what is stored is safe, run the same command again ({reason})"
    if kind is StoreRefused:
        return "Milvus refuses the token; give the right token (user:password, or an API key)"
    if kind is InputError:
        return f"Milvus does not understand the filter: {reason}"
    return f"Milvus: {reason}"


def first_line(error: BaseException) -> str:
    """Return the message inside pymilvus's wrapping, on one line of at most 300 characters."""
    text = str(getattr(error, "message", "") or error)
    inner = re.search(r"message=(.*?)\)?>?$", text, re.DOTALL)
    return " ".join((inner.group(1) if inner else text).split())[:300]
