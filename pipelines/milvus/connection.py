"""Connections to Milvus (a Lite file, a server, Zilliz Cloud): one client each."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import SearchError, StoreError, StoreUnavailable
from ..forks import refuse_fork
from .calls import call, first_line
from .client_import import import_client, import_lite
from .lite import check_openable, forget_full_disk, is_lite, lite_path
from .lite_damage import look_for_damage
from .lite_mirror import close_mirror, is_read_only, open_mirror, opened_as
from .lite_server import note_start, release_server, server_address, share_servers

if TYPE_CHECKING:
    from pymilvus import MilvusClient

# gRPC reconnects by itself. These options make it retry soon, not after up to two minutes, and give up an attempt that
# gets no answer. Without its own subchannel pool, a channel would share the back-off of others to the same address.
_GRPC_OPTIONS = {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 500,
    "grpc.min_reconnect_backoff_ms": 3000,  # the time limit of one connection attempt
}

_clients: dict[tuple[str, str], MilvusClient] = {}
_clients_lock = threading.Lock()


def normalise_uri(uri: str | os.PathLike[str]) -> str:
    """Return one spelling for each database: Milvus Lite starts one server per spelling, and each takes the lock.

    Raises:
        InputError: this is neither an address nor a file name that Milvus Lite accepts.
    """
    uri = os.fspath(uri)
    return lite_path(uri) if is_lite(uri) else uri.rstrip("/")


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
    """Close the client of one Milvus, and release the lock of a Milvus Lite file, which the client alone would keep.

    The lock stays if other users of pymilvus in this process have the file open.
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
    # At this size Milvus Lite seals its memtable, row by row in Python. Its default of 128 MiB takes 650 MB more memory
    # and stalls it for seconds. It reads this variable once, when milvus_lite is first imported.
    os.environ.setdefault("MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES", str(8 << 20))
    client_of = import_client()
    from pymilvus.client.cache import GlobalCache

    import_lite()
    share_servers()
    address, parent = server_address(opened_as(path)), Path(path).parent
    if address:
        return client_of(address)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        check_openable(Path(path))
        look_for_damage(path)
        place = open_mirror(path) if is_read_only(path) else path
        client = client_of(place)
        note_start(place)
        GlobalCache.schema.clear()  # keyed by the server's address, which a file that is closed now may have had
        return client
    except SearchError:
        raise
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; choose another file") from error
    except Exception as error:
        check_openable(Path(path))  # another process may have opened it a moment before
        reason = "the folder is not writable" if not os.access(parent, os.W_OK) else first_line(error)
        raise StoreError(f"{path} cannot be opened: {reason}") from error


def _open_server(uri: str, token: str) -> MilvusClient:
    client_of = import_client()
    parts = urlsplit(uri)
    address, database = f"{parts.scheme}://{parts.netloc}", parts.path.strip("/")
    try:
        client = call(
            client_of, address, token=token, db_name=database, timeout=10, deadline=5, grpc_options=_GRPC_OPTIONS
        )
        _leave_retries_to_us(client)
        call(client.list_collections, deadline=5)  # only a real call detects a wrong token or database
        return client
    except StoreUnavailable:
        hint = " (https:// is for a server with TLS, http:// for one without)" if parts.scheme == "https" else ""
        raise StoreUnavailable(f"no Milvus answers at {uri}: is it running, and is the address right?{hint}") from None
    except StoreError as error:
        raise type(error)(f"{uri}: {error}") from error


def _leave_retries_to_us(client: MilvusClient) -> None:
    """Make a lost connection an error at once.

    pymilvus would try to reconnect for up to ten seconds, one thread after the other, and then repeat the call with the
    whole time limit. Clusters of several regions are an exception: there pymilvus has to find the new primary.
    """
    import grpc

    def give_back(error: Exception) -> bool:
        if isinstance(error, grpc.RpcError):
            raise error
        return False

    managed = client._manager._get_managed(client._handler)
    if managed and not managed.config.is_global:
        client._handler._on_rpc_error = give_back
