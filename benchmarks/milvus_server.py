"""Start a real Milvus server, kill it, and start it again on the same data."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from .used import Used, used_by

ROOT = Path(__file__).resolve().parents[1]


def find_program() -> str:
    """Return the `milvus-server` of the environment or of `make .venv-milvus/bin/milvus-server`; '' without either."""
    program = os.environ.get("MILVUS_SERVER") or shutil.which("milvus-server")
    program = program or str(ROOT / ".venv-milvus" / "bin" / "milvus-server")
    return program if os.path.exists(program) else ""


INNER_PORTS = (
    "etcd", "root-coord", "proxy-internal", "query-coord", "query-node", "index-coord", "index-node", "data-coord",
    "data-node",
)  # fmt: skip


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MilvusServer:
    """A server on free ports. As a context manager, it is killed at the end."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder, self._options = folder, options
        self._port = free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Start the server on the data in its folder, and return when it answers, after about 10 s."""
        for _ in range(3):  # two that start at the same time may still choose the same port for their metrics
            self._launch()
            deadline = time.monotonic() + 90
            while time.monotonic() < deadline and self._process.poll() is None:
                if self._answers():
                    return
                time.sleep(0.5)
            self.kill()
            shutil.rmtree(self._folder / "data" / "bin", ignore_errors=True)  # perhaps half unpacked
        raise RuntimeError(f"no Milvus: {(self._folder / 'milvus.log').read_text()[-500:]}")

    def _launch(self) -> None:
        arguments = [
            find_program(),
            "--data",
            str(self._folder / "data"),
            "--proxy-port",
            str(self._port),
            *self._options,
        ]
        arguments += [part for name in INNER_PORTS for part in (f"--{name}-port", str(free_port()))]
        with open(self._folder / "milvus.log", "a") as log:
            self._process = subprocess.Popen(arguments, stdout=log, stderr=log, start_new_session=True)

    def used(self) -> Used:
        """Return what the server uses."""
        return used_by(self._process.pid)

    def kill(self) -> None:
        """Kill the server and its child by SIGKILL."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # the program is a wrapper: its child is the server
        self._process.wait()

    def _answers(self) -> bool:
        from pymilvus import MilvusClient

        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # a traceback for each try
        try:
            client = MilvusClient(self.uri, timeout=5)
            client.list_collections(timeout=5)
            client.close()
        except Exception:  # not up yet: refused, timed out, "not ready"
            return False
        return True

    def __enter__(self) -> MilvusServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
