"""A real Milvus server that all workers of a test run share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.support.program import free_port

# How often the parts of the server look for work, in milliseconds, and how long a place that was reserved for rows is
# kept: as it comes, a flush takes three seconds and a new collection three, whatever they hold.
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


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all workers of this test run see."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


class SharedServer:
    """One Milvus server for all workers of a run: the first starts it, the last one to leave stops it."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        self._lock = FileLock(folder / "milvus.lock", timeout=280)
        self._state = folder / "milvus.json"

    def enter(self) -> str:
        """Start the server if it is not running; return its address."""
        with self._lock:
            state = json.loads(self._state.read_text()) if self._state.exists() else self._start()
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

    def _start(self) -> dict[str, Any]:
        port = free_port()
        uri, log = f"http://127.0.0.1:{port}", self._folder / "milvus.log"
        with open(log, "w") as output:
            server = subprocess.Popen(
                [self._program, "--data", str(self._folder / f"milvus-{port}"), "--proxy-port", str(port)],
                stdout=output, stderr=output, start_new_session=True, env={**os.environ, **QUICK},
            )  # fmt: skip
        try:
            _wait_for_milvus(uri, server, log)
        except BaseException:
            os.killpg(server.pid, signal.SIGKILL)
            raise
        server.returncode = 0  # it outlives this object, because the last worker stops it: no ResourceWarning
        return {"uri": uri, "pid": server.pid, "users": 0}


def _wait_for_milvus(uri: str, server: subprocess.Popen[bytes], log: Path) -> None:
    from pymilvus import MilvusClient

    for _ in range(240):
        if server.poll() is not None:
            pytest.fail(f"milvus-server ended: {log.read_text()[-500:]}")
        try:
            MilvusClient(uri, timeout=5).list_collections(timeout=5)
            return
        except Exception:  # not up yet: refused, timed out, "not ready"
            time.sleep(1)
    pytest.fail(f"milvus-server does not answer: {log.read_text()[-500:]}")
