"""Start a real Milvus server, kill it, and start it again on the same data."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from .used import Used, used_by

ROOT = Path(__file__).resolve().parents[1]


def find_program() -> str:
    """Return $MILVUS_SERVER, `milvus-server` on PATH or that of .venv-milvus (see the Makefile); '' if none exists."""
    program = os.environ.get("MILVUS_SERVER") or shutil.which("milvus-server")
    program = program or str(ROOT / ".venv-milvus" / "bin" / "milvus-server")
    return program if os.path.exists(program) else ""


INNER_PORTS = (
    "root-coord", "proxy-internal", "query-coord", "query-node", "index-coord", "index-node", "data-coord", "data-node",
)  # fmt: skip
# By default, the etcd inside each server listens on the same two ports, although nothing connects to it there.
ETCD = "".join(
    f"{name}: http://127.0.0.1:0\n" for name in ("listen-client-urls", "advertise-client-urls", "listen-peer-urls")
)


def free_port() -> int:
    """Return a free port below the ephemeral range, so that no other connection gets it while a server is down."""
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class MilvusServer:
    """A server on free ports. The context manager kills it at the end."""

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self._folder, self._data, self._was_up = folder, folder / "data", False
        etcd = folder / "etcd.yaml"
        etcd.write_text(ETCD)
        self._env = {**os.environ, "ETCD_CONFIG_PATH": str(etcd), **(env or {})}
        self._port = free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Start the server on the data in its folder, and wait until it answers, about 10 s."""
        for _ in range(2):  # two servers that start at the same time may still choose the same metrics port
            self._launch()
            try:
                self._was_up |= (is_up := self._comes_up())
            except BaseException:
                self.kill()
                raise
            if is_up:
                return
            self.kill()
            if not self._was_up:
                shutil.rmtree(self._data / "bin", ignore_errors=True)  # perhaps half unpacked
        raise RuntimeError(f"no Milvus: {(self._folder / 'milvus.log').read_text()[-500:]}")

    def _comes_up(self) -> bool:
        deadline = time.monotonic() + 150
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._answers():
                return True
            time.sleep(0.5)
        return False

    def _launch(self) -> None:
        """Start the wrapper. Once the server has been up, start the server itself, on the same ports.

        The wrapper skips a port that was in use a moment ago, but the server's components look for each other on their
        old ports for 30 s.
        """
        if self._was_up:
            program = self._data / "bin" / "milvus"
            own = {
                "DEPLOY_MODE": "STANDALONE",
                "LD_LIBRARY_PATH": str(program.parent),
                "METRICS_PORT": str(free_port()),
                "MILVUS_RUN_DIR": str(self._data / "run"),
            }
            command, env, place = [str(program), "run", "standalone"], {**self._env, **own}, self._data
        else:
            command = [find_program(), "--data", str(self._data), "--proxy-port", str(self._port)]
            command += [part for name in INNER_PORTS for part in (f"--{name}-port", str(free_port()))]
            env, place = self._env, self._folder
        with open(self._folder / "milvus.log", "a") as log:
            self._process = subprocess.Popen(
                command, cwd=place, env=env, stdout=log, stderr=log, start_new_session=True
            )

    def leave(self) -> int:
        """Return the process group, and leave it to the caller to kill it."""
        self._process.returncode = 0  # prevents a ResourceWarning
        return self._process.pid

    def used(self) -> Used:
        """Return the memory and CPU time of the server."""
        return used_by(self._process.pid)

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # includes the wrapper's child
        self._process.wait()

    def _answers(self) -> bool:
        from pymilvus import MilvusClient

        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs a traceback for each attempt
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
