"""Opening a Milvus (Lite file, server or Zilliz Cloud), and turning its failures into errors a person understands."""

from __future__ import annotations

import logging
import os
import random
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from ..errors import (
    CollectionNotFound,
    InputError,
    SearchError,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreRefused,
    StoreUnavailable,
)  # fmt: skip

if TYPE_CHECKING:
    from pymilvus import MilvusClient

T = TypeVar("T")

# Calls with a filter of the user's: what these refuse is the user's to change.
TAKES_FILTER = ("search", "query", "query_iterator")

_clients: dict[tuple[str, str], MilvusClient] = {}
_clients_lock = threading.Lock()


def is_lite(uri: str) -> bool:
    """True for a Milvus Lite file, False for a server's address."""
    return "://" not in uri


def normalise_uri(uri: str) -> str:
    """One spelling for one database: Milvus Lite keeps one server per spelling, and each takes the lock.

    Raises:
        InputError: neither an address nor a file name that Milvus Lite accepts.
    """
    if not is_lite(uri):
        return uri.rstrip("/")
    if not uri.endswith(".db"):
        raise InputError(
            f"'{uri}' is no Milvus: give a file name ending in .db or an address like http://localhost:19530"
        )
    return os.path.realpath(os.path.expanduser(uri))


def connect(uri: str, token: str = "") -> MilvusClient:
    """Returns the process's one client for this Milvus; it may be shared by threads.

    Raises:
        StoreLocked: another process has the Milvus Lite file open.
        StoreUnavailable: no server answers.
        StoreError: the file cannot be opened or is of an older Milvus Lite.
    """
    uri = normalise_uri(uri)
    with _clients_lock:
        client = _clients.get((uri, token))
        if client is None:
            client = _open_lite(uri) if is_lite(uri) else _open_server(uri, token)
            _clients[uri, token] = client
        return client


def close(uri: str, token: str = "") -> None:
    """Closes the client of one Milvus and releases a Milvus Lite file's lock, which closing a client alone does not."""
    uri = normalise_uri(uri)
    with _clients_lock:
        client = _clients.pop((uri, token), None)
        if client is None:
            return
        client.close()
        if is_lite(uri):
            from milvus_lite.server_manager import server_manager_instance

            from .lite import reopened

            server_manager_instance.release_server(uri)
            reopened(uri)


def close_all() -> None:
    """Closes every client."""
    for uri, token in list(_clients):
        close(uri, token)


def _open_lite(path: str) -> MilvusClient:
    # Milvus Lite seals what it holds in memory when it reaches this size, row by row in Python: at its own 128 MiB
    # that takes 650 MB more and stalls for seconds. Read once, when milvus_lite is first imported.
    os.environ.setdefault("MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES", str(8 << 20))
    from pymilvus import MilvusClient

    _silence_logs()
    parent = Path(path).parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _explain_unopenable(Path(path))
        return MilvusClient(path)
    except SearchError:
        raise
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; choose another file with --uri") from error
    except Exception as error:
        reason = "the folder is not writable" if not os.access(parent, os.W_OK) else _first_line(error)
        raise StoreError(f"{path} cannot be opened: {reason}") from error


def _explain_unopenable(path: Path) -> None:
    """Milvus Lite hides why a database cannot be opened behind 'Open local milvus failed': look first."""
    if path.is_file():
        kind = "made by Milvus Lite 2" if path.read_bytes()[:15] == b"SQLite format 3" else "no Milvus Lite database"
        raise StoreError(f"{path} is {kind}; move it away or choose another file with --uri")
    lock = path / "LOCK"
    if not lock.exists():
        return
    try:
        import fcntl
    except ImportError:  # Windows: Milvus Lite's own message has to do
        return
    with open(lock, "rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = _lock_owner(lock)
            raise StoreLocked(
                f"{path} is open in another process{owner}: stop it (a search page, for example), or run a Milvus "
                "server and share that by --uri"
            ) from None


def _lock_owner(lock: Path) -> str:
    """' (pid 123: python -m app)' where the kernel tells, else nothing."""
    try:
        inode = str(lock.stat().st_ino)
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].rsplit(":", 1)[-1] == inode:
                command = Path(f"/proc/{fields[4]}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                return f" (pid {fields[4]}: {command.strip()[:80]})"
    except (OSError, IndexError):
        pass
    return ""


def _open_server(uri: str, token: str) -> MilvusClient:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C++ part writes to stderr on its own
    from pymilvus import MilvusClient

    _silence_logs()
    parts = urlsplit(uri)
    address, database = f"{parts.scheme}://{parts.netloc}", parts.path.strip("/")
    try:
        client = call(MilvusClient, address, token=token, db_name=database, timeout=10, deadline=5)
        call(client.list_collections, deadline=5)  # a wrong token or database shows with the first real call
        return client
    except StoreUnavailable:
        hint = " (https:// is for a server with TLS, http:// for one without)" if parts.scheme == "https" else ""
        raise StoreUnavailable(f"no Milvus answers at {uri}: is it running, and is the address right?{hint}") from None
    except StoreError as error:
        raise StoreError(f"{uri}: {error}") from error


def _silence_logs() -> None:
    # pymilvus prints a traceback for each failed call, and gRPC one for each call that Milvus Lite does not
    # know; what matters of them reaches the user through `classify`.
    for name in ("pymilvus", "milvus_lite", "grpc._server"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def call(function: Callable[..., T], *args: Any, deadline: float = 180.0, **kwargs: Any) -> T:
    """Calls Milvus, repeats with back-off while it is out of reach, and raises this project's errors.

    Only for calls that may be repeated: upsert, delete, search, query, get, load, flush; never insert.
    pymilvus itself gives up on a lost connection after 20 ms.

    Args:
        deadline: seconds after which a Milvus that does not answer is an error.
    """
    start, pause = time.monotonic(), 0.2
    while True:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            kind = classify(error)
            if kind is None:
                raise
            if kind is InputError and getattr(function, "__name__", "") not in TAKES_FILTER:
                kind = StoreError
            if kind is not StoreUnavailable or time.monotonic() - start >= deadline:
                raise kind(_message(kind, error)) from error
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(5.0, pause * 2)


def classify(error: BaseException) -> type[SearchError] | None:
    """Which of our errors one of pymilvus's two families (MilvusException, grpc.RpcError) stands for."""
    import grpc
    from pymilvus.exceptions import MilvusException

    text = str(error).lower()
    if _grpc_status(error) is grpc.StatusCode.UNAUTHENTICATED:
        return StoreRefused
    if isinstance(error, grpc.RpcError):
        status = _grpc_status(error)
        transient = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED}
        return StoreUnavailable if status in transient else StoreError
    if not isinstance(error, MilvusException):
        return None
    if "errno 28" in text or "no space left" in text:
        return StoreFull
    if error.code in (4, 100) or "can't find collection" in text:
        return CollectionNotFound
    if "auth" in text and ("fail" in text or "check" in text):
        return StoreRefused
    if error.code in (2, 8) or "fail connecting" in text or "rate limit" in text:
        return StoreUnavailable
    if "not loaded" in text or "not fully loaded" in text:  # one that has started again answers before
        return StoreUnavailable
    if "expression" in text or error.code == 6:
        return InputError
    return StoreError


def _grpc_status(error: BaseException) -> Any:
    """The gRPC status of an error, or of the one it was raised from: pymilvus calls a wrong token 'Fail connecting'."""
    import grpc

    for each in (error, error.__cause__):
        if isinstance(each, grpc.RpcError) and callable(getattr(each, "code", None)):
            return each.code()
    return None


def _message(kind: type[SearchError], error: BaseException) -> str:
    reason = _first_line(error)
    if kind is StoreFull:
        return f"the disk is full; free some space and run the same command again ({reason})"
    if kind is StoreUnavailable:
        return f"Milvus went away and did not come back; what is stored is safe, run the same command again ({reason})"
    if kind is StoreRefused:
        return "Milvus refuses the token; give the right one with --token (user:password, or an API key)"
    if kind is InputError:
        return f"Milvus does not understand the filter: {reason}"
    return f"Milvus: {reason}"


def _first_line(error: BaseException) -> str:
    """The message inside pymilvus's wrapping, on one line."""
    text = str(getattr(error, "message", "") or error)
    inner = re.search(r"message=(.*?)\)?>?$", text, re.DOTALL)
    return " ".join((inner.group(1) if inner else text).split())[:300]
