"""A real Milvus server that all workers of a test run share."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

from benchmarks.milvus_server import MilvusServer, find_program
from tests.support.requirements import require_or_skip

# Milliseconds between two looks for work by the parts of the server, and until a segment that is reserved for rows
# expires. With Milvus's defaults, every flush takes three seconds, and every new collection as well.
QUICK = {
    "DATACOORD_SEGMENT_ASSIGNMENTEXPIRATION": "100",
    "PROXY_TIMETICKINTERVAL": "50",
    "QUERYCOORD_CHECKINTERVAL": "100",
    "QUERYCOORD_CHECKCHANNELINTERVAL": "100",
    "QUERYCOORD_CHECKSEGMENTINTERVAL": "100",
    "QUERYCOORD_DISTPULLINTERVAL": "100",
    "QUERYCOORD_TASK_RETRYINTERVAL": "100",
    "INDEXCOORD_SCHEDULER_INTERVAL": "100",
}


def require_milvus() -> None:
    """Skip a test if no Milvus server can be started."""
    if not find_program():
        require_or_skip("REQUIRE_MILVUS", "no milvus-server here: make .venv-milvus/bin/milvus-server")


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all workers of this test run share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


class SharedServer:
    """One Milvus server for all workers of a run: the first starts it, the last one to leave stops it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / "milvus.lock", timeout=280)
        self._state = folder / "milvus.json"

    def enter(self) -> str:
        """Start the server if it is not running; return its address."""
        with self._lock:
            if self._state.exists():
                state = json.loads(self._state.read_text())
            else:
                server = MilvusServer(Path(tempfile.mkdtemp(prefix="milvus-", dir=self._folder)), QUICK)
                state = {"uri": server.uri, "pid": server.leave(), "users": 0}
            self._state.write_text(json.dumps({**state, "users": state["users"] + 1}))
        return str(state["uri"])

    def leave(self) -> None:
        """Stop the server if no other worker uses it."""
        with self._lock:
            state = json.loads(self._state.read_text())
            state["users"] -= 1
            if state["users"]:
                self._state.write_text(json.dumps(state))
                return
            self._state.unlink()
            os.killpg(state["pid"], signal.SIGKILL)  # the program is a wrapper: its child is the server
