"""Connections to Milvus (a Lite file, a server, Zilliz Cloud): one client each, retries, and this project's errors."""

from __future__ import annotations

import logging
import math
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from ..errors import CollectionNotFound, InputError, SearchError, StoreError, StoreFull, StoreRefused, StoreUnavailable
from ..forks import refuse_fork
from .lite import check_openable, forget_full_disk, is_lite, lite_path
from .lite_damage import look_for_damage
from .lite_mirror import close_mirror, is_read_only, open_mirror, opened_as
from .lite_server import note_start, release_server, server_address, share_servers

if TYPE_CHECKING:
    from pymilvus import MilvusClient

T = TypeVar("T")

# Rows of one call: the fastest number for Milvus Lite, and far below a server's limit of 64 MB a message.
ROWS_PER_CALL = 1000
# Calls that take the user's filter: if Milvus refuses one of these, the user can change the filter.
_TAKES_FILTER = ("search", "query", "query_iterator")

# For another connection in place of a broken one; pymilvus lets every other call wait meanwhile.
_RECONNECT_SECONDS = 1.0
# Channels to one address share their wait of up to two minutes before another try, unless each has a pool of its own.
_GRPC_OPTIONS = {"grpc.use_local_subchannel_pool": 1}
# A server that answers within this time is there, however long the call before it took.
_ALIVE_SECONDS = 0.5


class Patience(NamedTuple):
    """Seconds that a call waits.

    gone: while no server can be reached.
    loading: while the server loads the collection.
    answer: for one answer of a server that says nothing at all; 0 waits for ever.
    """

    gone: float = 180.0
    loading: float = 180.0
    answer: float = 0.0


# An insert goes on when the server is back. A search says within three seconds that the server is gone. A server that
# was killed loads its collections half a minute after it answers again: a search waits for that, a probe tells it.
PATIENT = Patience()
SEARCHING = Patience(gone=0.5, loading=60.0, answer=1.5)
PROBING = Patience(gone=0.0, loading=0.0, answer=1.0)
_patience: ContextVar[Patience] = ContextVar("patience", default=PATIENT)

_clients: dict[tuple[str, str], MilvusClient] = {}
_clients_lock = threading.Lock()


def normalise_uri(uri: str | os.PathLike[str]) -> str:
    """Return one spelling for each database: Milvus Lite starts one server per spelling, and each takes the lock.

    Raises:
        InputError: this is neither an address nor a file name that Milvus Lite accepts.
    """
    uri = os.fspath(uri)
    return lite_path(uri) if is_lite(uri) else uri.rstrip("/")


@contextmanager
def patience(limits: Patience) -> Iterator[None]:
    """Let calls wait this long, also those of threads that inherit the context."""
    token = _patience.set(limits)
    try:
        yield
    finally:
        _patience.reset(token)


def connect(uri: str | os.PathLike[str], token: str = "") -> MilvusClient:
    """Return the process's one client for this Milvus. Threads can share it.

    Raises:
        ForkedProcess: a parent of this process had opened a Milvus.
        StoreLocked: another process has the Milvus Lite file open.
        StoreUnavailable: no server answers.
        StoreError: the file cannot be opened, or an older Milvus Lite made it.
    """
    refuse_fork()
    uri = normalise_uri(uri)
    with _clients_lock:
        client = _clients.get((uri, token))
        if client is None:
            client = _open_lite(uri) if is_lite(uri) else _open_server(uri, token)
            _clients[uri, token] = client
        return client


def is_open(client: MilvusClient) -> bool:
    """Return whether `close` has not been called for this client."""
    return any(client is opened for opened in tuple(_clients.values()))


def close(uri: str | os.PathLike[str], token: str = "") -> None:
    """Close the client of one Milvus, and release a Milvus Lite file's lock: closing the client alone keeps it.

    The lock stays where other users of pymilvus in this process have the file open.
    """
    uri = normalise_uri(uri)
    with _clients_lock:
        client = _clients.pop((uri, token), None)
        if client is None:
            return
        client.close()
        if is_lite(uri) and release_server(opened_as(uri)):
            forget_full_disk(uri)
            close_mirror(uri)


def close_all() -> None:
    """Close every client."""
    for uri, token in list(_clients):
        close(uri, token)


def server_version(client: MilvusClient) -> tuple[int, ...]:
    """Return the version of a server, `(2, 3, 5)`."""
    return tuple(map(int, re.findall(r"\d+", call(client.get_server_version))[:3]))


def _open_lite(path: str) -> MilvusClient:
    # At this size Milvus Lite seals what it holds in memory, row by row in Python: its own 128 MiB take 650 MB more
    # and stall it for seconds. It reads this variable once, when milvus_lite is first imported.
    os.environ.setdefault("MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES", str(8 << 20))
    from pymilvus import MilvusClient
    from pymilvus.client.cache import GlobalCache

    from . import lite_fast_path

    lite_fast_path.apply()
    _silence_logs()
    share_servers()
    address, parent = server_address(opened_as(path)), Path(path).parent
    if address:
        return MilvusClient(address)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        check_openable(Path(path))
        look_for_damage(path)
        place = open_mirror(path) if is_read_only(path) else path
        client = MilvusClient(place)
        note_start(place)
        GlobalCache.schema.clear()  # known by the server's address, which may have been that of a closed file's
        return client
    except SearchError:
        raise
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; choose another file") from error
    except Exception as error:
        check_openable(Path(path))  # another process may have come first in this very moment
        reason = "the folder is not writable" if not os.access(parent, os.W_OK) else _first_line(error)
        raise StoreError(f"{path} cannot be opened: {reason}") from error


def _open_server(uri: str, token: str) -> MilvusClient:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C++ part writes to stderr on its own
    from pymilvus import MilvusClient

    _silence_logs()
    parts = urlsplit(uri)
    address, database = f"{parts.scheme}://{parts.netloc}", parts.path.strip("/")
    try:
        client = call(
            MilvusClient, address, token=token, db_name=database, timeout=10, deadline=5, grpc_options=_GRPC_OPTIONS
        )
        if managed := client._manager._get_managed(client._handler):
            managed.connect_timeout = _RECONNECT_SECONDS
        call(client.list_collections, deadline=5)  # a wrong token or database shows with the first real call
        return client
    except StoreUnavailable:
        hint = " (https:// is for a server with TLS, http:// for one without)" if parts.scheme == "https" else ""
        raise StoreUnavailable(f"no Milvus answers at {uri}: is it running, and is the address right?{hint}") from None
    except StoreError as error:
        raise type(error)(f"{uri}: {error}") from error


def _silence_logs() -> None:
    # pymilvus prints a traceback for each failed call, and gRPC one for each call that Milvus Lite does not have.
    # `classify` turns these failures into errors.
    for name in ("pymilvus", "milvus_lite", "grpc._server"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def call(function: Callable[..., T], *args: Any, deadline: float = math.inf, **kwargs: Any) -> T:
    """Call Milvus; retry with back-off while it is out of reach. pymilvus gives up on a lost connection after 20 ms.

    Only for calls that can be repeated: upsert, delete, search, query, get, load, flush; never insert.

    Args:
        deadline: seconds after which an unreachable Milvus is an error, if that is sooner than `patience` says.

    Raises:
        SearchError: what went wrong, as `classify` tells; the message is one line.
    """
    refuse_fork()
    limits, start, pause, name = _patience.get(), time.monotonic(), 0.2, getattr(function, "__name__", "")
    if limits.answer:
        kwargs.setdefault("timeout", limits.loading if name == "load_collection" else limits.answer)
    while True:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            kind = classify(error)
            if kind is None:
                raise
            if kind is InputError and name not in _TAKES_FILTER:
                kind = StoreError
            if kind is StoreUnavailable and kwargs.get("timeout") == limits.answer and _is_only_slow(function, error):
                kwargs["timeout"] = limits.loading
                continue
            most = min(limits.loading if _is_loading(error) else limits.gone, deadline)
            if kind is not StoreUnavailable or time.monotonic() - start >= most:
                raise kind(_message(kind, error)) from error
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(5.0, pause * 2)


def chunked(items: Sequence[T], size: int = ROWS_PER_CALL) -> Iterator[Sequence[T]]:
    """Yield slices of at most `size` items, one for each call."""
    return (items[start : start + size] for start in range(0, len(items), size))


# A server says "context done" when it gives up a question whose asker did.
_GONE = ("fail connecting", "rate limit", "context done", "context canceled")


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
    return "not loaded" in text or "not fully loaded" in text


def _is_only_slow(function: Callable[..., Any], error: BaseException) -> bool:
    """Whether a server that gave no answer in time is there and busy."""
    import grpc

    if not isinstance(error, grpc.RpcError) or _grpc_status(error) is not grpc.StatusCode.DEADLINE_EXCEEDED:
        return False  # MilvusException: another connection was tried, in vain
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
    reason = _first_line(error)
    if kind is StoreFull:
        return f"the disk is full; free some space and run the same command again ({reason})"
    if kind is StoreUnavailable and _patience.get() is not PATIENT:
        if _is_loading(error):
            return "Milvus is loading the collection; try again in a moment"
        return "Milvus does not answer; try again in a moment"
    if kind is StoreUnavailable:
        return f"Milvus went away and did not come back; what is stored is safe, run the same command again ({reason})"
    if kind is StoreRefused:
        return "Milvus refuses the token; give the right token (user:password, or an API key)"
    if kind is InputError:
        return f"Milvus does not understand the filter: {reason}"
    return f"Milvus: {reason}"


def _first_line(error: BaseException) -> str:
    """The message inside pymilvus's wrapping, on one line."""
    text = str(getattr(error, "message", "") or error)
    inner = re.search(r"message=(.*?)\)?>?$", text, re.DOTALL)
    return " ".join((inner.group(1) if inner else text).split())[:300]
