"""A real Triton server with its Python backend, from the package `nvidia-pytriton`, started without that package."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import httpx
import pytest

from tests.support.program import ROOT, free_port
from tests.support.requirements import require_or_skip

_HOME = ROOT / ".venv-triton" / "server"
_PARTS = _HOME / "pytriton" / "tritonserver"
PROGRAM = _PARTS / "bin" / "tritonserver"


class TritonServer:
    """A server of one model repository, on a port that it keeps when it is restarted."""

    def __init__(self, repository: Path, folder: Path) -> None:
        if not PROGRAM.exists():
            require_or_skip("REQUIRE_TRITON", f"no Triton server here: make {PROGRAM.relative_to(ROOT)}")
        stub = _PARTS / "python_backend_stubs" / f"3.{sys.version_info.minor}" / "triton_python_backend_stub"
        if not stub.exists() or not sysconfig.get_config_var("Py_ENABLE_SHARED"):
            pytest.skip(f"Triton's Python backend needs a shared library of Python {sys.version_info.minor}")
        backend = folder / "backends" / "python"
        shutil.copytree(_PARTS / "backends" / "python", backend)
        shutil.copy(stub, backend)
        self.port = free_port()
        self.url, self._log = f"http://127.0.0.1:{self.port}", folder / "triton.log"
        self._command = [
            str(PROGRAM), f"--model-repository={repository}", f"--backend-directory={backend.parent}",
            "--http-address=127.0.0.1", f"--http-port={self.port}", "--allow-grpc=false", "--allow-metrics=false",
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        libraries = f"{_HOME / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}"
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # the backend runs the first Python on it
        with open(self._log, "w") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "LD_LIBRARY_PATH": libraries, "PATH": path},
            )  # fmt: skip
        for _ in range(500):
            if self._process.poll() is not None:
                break
            try:
                if httpx.get(f"{self.url}/v2/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        pytest.fail(f"Triton does not answer: {self._log.read_text(errors='replace')[-1500:]}")

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End the server and its backend's processes."""
        process, self._process = self._process, None
        if process is not None:
            if how is signal.SIGTERM:
                process.terminate()
                process.wait(60)
            else:
                os.killpg(process.pid, how)
                process.wait()
