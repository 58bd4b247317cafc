"""The server that Milvus Lite runs in this process for each file. Other users of pymilvus in the process share it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from milvus_lite.server_manager import ServerManager

_started: set[str] = set()  # files whose server this program started, see `note_start`


def share_servers() -> None:
    """Make Milvus Lite use real paths. For another path it would start a second server, which the lock would refuse."""
    manager = _manager()
    if "start_and_get_uri" in vars(manager):
        return
    start, release = manager.start_and_get_uri, manager.release_server

    def start_once(path: str, args: dict[str, Any] | None = None) -> str | None:
        return server_address(path) or start(os.path.realpath(path), args)

    manager.start_and_get_uri = start_once
    manager.release_server = lambda path: release(_key(path))


def server_address(path: str) -> str:
    """Return the address of this process's server for a file, whoever started it; '' if there is none."""
    entry = _manager()._servers.get(_key(path))
    return f"http://127.0.0.1:{entry[2]}" if entry else ""


def lite_collection(path: str, name: str) -> Any:
    """Return Milvus Lite's own object for a collection of a file that is open in this process."""
    return _manager()._servers[_key(path)][1].get_collection(name)


def note_start(path: str) -> None:
    """Remember that this program, and no other user of pymilvus, started the server of a file."""
    _started.add(path)


def release_server(path: str) -> bool:
    """Stop a file's server, which frees the lock, unless others in this process use it. Return whether it stopped."""
    if path not in _started or _has_clients(server_address(path)):
        return False
    _started.discard(path)
    _manager().release_server(path)
    return True


def _manager() -> ServerManager:
    from milvus_lite.server_manager import server_manager_instance

    return server_manager_instance


def _key(path: str) -> str:
    """Return the path under which a server was started. Another user of pymilvus may not have used the real path."""
    servers = _manager()._servers
    if path in servers:
        return path
    real = os.path.realpath(path)
    return next((key for key in servers if os.path.realpath(key) == real), real)


def _has_clients(address: str) -> bool:
    from pymilvus.client.connection_manager import ConnectionManager

    manager = ConnectionManager.get_instance()
    open_ones = (*manager._registry.values(), *manager._dedicated.values())
    return any(one.has_clients for one in open_ones if one.config.uri == address)
