"""Calls of Milvus: how long each waits, when it is tried again, and this project's errors for pymilvus's."""

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

# Rows of one call: the fastest number for Milvus Lite, and far below a server's limit of 64 MB a message.
ROWS_PER_CALL = 1000
# Calls that take the user's filter: if Milvus refuses one of these, the user can change the filter.
_TAKES_FILTER = ("search", "query", "query_iterator")
# A server that answers within this time is there, however long the call before it took.
_ALIVE_SECONDS = 0.5
# A call waits for so long when the time of all is over. A server that is there answers most within milliseconds.
_LEAST_SECONDS = 0.2
_NO_ANSWER = "Milvus does not answer; try again in a moment"


class Patience(NamedTuple):
    """Seconds to wait.

    gone: a call, while no server can be reached.
    loading: a call, while the server loads the collection, or is busy.
    answer: a call, for one answer of a server that says nothing at all; 0 waits for ever.
    together: all calls of one request, for a server that says nothing or cannot be reached.
    columns: a request, for the first columns of a collection, which are read in a thread of their own.
    """

    gone: float = 180.0
    loading: float = 180.0
    answer: float = 0.0
    together: float = math.inf
    columns: float = threading.TIMEOUT_MAX


# An insert goes on when the server is back. A search says within three seconds that the server is gone. A server that
# was killed loads its collections half a minute after it answers again: a search waits for that, a probe tells it.
# A person who looks at a page is told how far the columns are.
PATIENT = Patience()
SEARCHING = Patience(gone=1.0, loading=60.0, answer=1.5, together=2.0)
SHOWING = SEARCHING._replace(columns=1.5)
PROBING = Patience(gone=0.0, loading=1.0, answer=1.0, together=1.5)


class _Waiting:
    """The waiting of one request: its calls share the time, and once the server is gone none of them asks again."""

    def __init__(self, limits: Patience) -> None:
        self.limits = limits
        self.until = time.monotonic() + limits.together
        self.failure: StoreUnavailable | None = None

    def left(self) -> float:
        """Seconds until the time of all calls is over, at least those of one short call."""
        return max(_LEAST_SECONDS, self.until - time.monotonic())


_waiting: ContextVar[_Waiting] = ContextVar("waiting", default=_Waiting(PATIENT))  # noqa: B039  never changed


@contextmanager
def patience(limits: Patience) -> Iterator[None]:
    """Let the calls of a request wait this long, also those of threads that inherit the context.

    Inside another block with limits, that one's hold: it is the same request.
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
    """Return how long this request waits for columns that are being read."""
    return _waiting.get().limits.columns


def is_probing() -> bool:
    """Whether this request gives up sooner than a search would."""
    return _waiting.get().limits is PROBING


@contextmanager
def in_turn(lock: threading.Lock) -> Iterator[None]:
    """Hold a lock under which Milvus is asked, and wait for it no longer than `patience` says.

    Raises:
        StoreUnavailable: another thread has waited for an answer for too long.
    """
    if not lock.acquire(timeout=min(_waiting.get().left(), threading.TIMEOUT_MAX)):
        raise StoreUnavailable(_NO_ANSWER)
    try:
        yield
    finally:
        lock.release()


def call(function: Callable[..., T], *args: Any, deadline: float = math.inf, **kwargs: Any) -> T:
    """Call Milvus; retry with back-off while it is out of reach.

    Only for calls that can be repeated: upsert, delete, search, query, get, load, flush; never insert.

    Args:
        deadline: seconds after which an unreachable Milvus is an error, if that is sooner than `patience` says.

    Raises:
        SearchError: what went wrong, as `classify` tells; the message is one line.
    """
    refuse_fork()
    waiting, start, pause, name = _waiting.get(), time.monotonic(), 0.2, getattr(function, "__name__", "")
    limits, is_slow = waiting.limits, name == "load_collection"
    if waiting.failure is not None:
        raise copy.copy(waiting.failure)
    while True:
        if limits.answer and name != "next":  # an iterator keeps the time with which it was made
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


# A server says "context done" when it gives up a question whose asker did, and "unrecoverable error", alone, when it is
# asked to load a collection before it knows that its parts from before a restart are gone.
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
    # pymilvus gives a status of gRPC as the code when its own time for retries is over.
    if error.code in (2, 8, *transient) or any(words in text for words in _GONE):
        return StoreUnavailable
    if _is_loading(error):  # a restarted server answers before it has loaded
        return StoreUnavailable
    if "expression" in text or error.code == 6:
        return InputError
    return StoreError


def _is_loading(error: BaseException) -> bool:
    text = str(error).lower()
    return any(words in text for words in ("not loaded", "not fully loaded", "loading collection timeout"))


def _is_only_slow(function: Callable[..., Any], error: BaseException) -> bool:
    """Whether a server that gave no answer in time is there and busy."""
    import grpc

    if _grpc_status(error) is not grpc.StatusCode.DEADLINE_EXCEEDED:
        return False
    with suppress(Exception):
        function.__self__.get_server_version(timeout=_ALIVE_SECONDS)  # type: ignore[attr-defined]
        return True
    return False


def _grpc_status(error: BaseException) -> Any:
    """The gRPC status of an error or its cause: pymilvus wraps a wrong token into 'Fail connecting'."""
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
    """The message inside pymilvus's wrapping, on one line."""
    text = str(getattr(error, "message", "") or error)
    inner = re.search(r"message=(.*?)\)?>?$", text, re.DOTALL)
    return " ".join((inner.group(1) if inner else text).split())[:300]
