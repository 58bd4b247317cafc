"""Commands in forks of a process that has imported their libraries: importing is most of a short command's time.

Run as a module, this is that process, which all workers of a test run share. Each worker gets a fork of its own, which
reads one request a line: it answers a command with its process id, and a process id with an exit status.
"""

from __future__ import annotations

import atexit
import functools
import gc
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import zlib
from pathlib import Path

from filelock import FileLock

from tests.support.program import ROOT, CommandResult, program_env

# Imports of `insert` and `search`; torch takes half of their time.
LIBRARIES = (
    "import numpy, pyarrow, pandas, PIL.Image, cv2, pymilvus, milvus_lite, openvino, torch, pipelines.cli.commands"
)
# Further imports of the page: ten seconds of CPU time.
PAGE = "from app.gradio_import import import_gradio; import_gradio(); import app.server, app.application, app.page"
# Set before the imports, as the program does: OpenCV and gRPC log nothing, and Gradio sends no analytics.
QUIET = {"OPENCV_LOG_LEVEL": "SILENT", "GRPC_VERBOSITY": "NONE", "GRADIO_ANALYTICS_ENABLED": "False"}


class Fork:
    """A running command; its output goes to two files."""

    def __init__(self, pid: int, parent: PreparedProgram) -> None:
        self.pid, self._parent = pid, parent
        self.returncode: int | None = None

    def send_signal(self, number: int) -> None:
        """Send a signal, if the command has not been waited for."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float = 240) -> int:
        """Wait for the exit status and return it; kill the command after `timeout` seconds."""
        if self.returncode is None:
            watchdog = threading.Timer(timeout, os.kill, (self.pid, signal.SIGKILL))
            watchdog.start()
            self.returncode = self._parent.ask(pid=self.pid)
            watchdog.cancel()
        return self.returncode


class PreparedProgram:
    """Runs `image-search …` in forks of one process that has imported some libraries."""

    def __init__(self, imports: str = LIBRARIES) -> None:
        self._imports = imports
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID", os.getpid())
        self._path = Path(tempfile.gettempdir(), f"prepared-{run}-{zlib.crc32(imports.encode())}")
        self._parent: subprocess.Popen[str] | None = None  # only in the worker that started it
        self._connection: io.TextIOWrapper | None = None

    def run(self, arguments: list[str], folder: Path, env: dict[str, str] | None = None) -> CommandResult:
        """Run a command in a folder."""
        with tempfile.TemporaryDirectory() as outputs:
            status = self.start(arguments, folder, Path(outputs), program_env({**QUIET, **(env or {})})).wait()
            return CommandResult(status, *(Path(outputs, name).read_text("utf-8") for name in ("out", "err")))

    def start(self, arguments: list[str], folder: Path, outputs: Path, env: dict[str, str]) -> Fork:
        """Start a command in a folder; its output goes to the files `out` and `err`."""
        for name in ("out", "err"):
            (outputs / name).write_bytes(b"")
        job = {"arguments": arguments, "folder": str(folder), "outputs": str(outputs), "env": env}
        return Fork(self.ask(**job), self)

    def ask(self, **job: object) -> int:
        """Return the process id of the command in a job, or the exit status of the process in it."""
        if self._connection is None:
            with self._lock():
                self._connection = self._connect() or self._start()
        print(json.dumps(job), file=self._connection, flush=True)
        return int(self._connection.readline())

    def close(self) -> None:
        """Close the connection, and end the process if this worker started it: a later worker starts another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._parent is not None:
            with self._lock():
                self._parent.communicate()
                self._path.unlink()

    def _lock(self) -> FileLock:
        return FileLock(self._path.with_name(f"prepared-{os.getuid()}.lock"), timeout=280)  # of all runs: it stays

    def _connect(self) -> io.TextIOWrapper | None:
        """Return a connection to a fork of the process, or None if the process does not run."""
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self._path))
            except (FileNotFoundError, ConnectionRefusedError):
                return None
            return connection.makefile("rw", encoding="utf-8")

    def _start(self) -> io.TextIOWrapper:
        self._path.unlink(missing_ok=True)
        self._parent = subprocess.Popen(
            [sys.executable, "-m", __name__, self._imports, str(self._path)], cwd=ROOT, env=program_env(QUIET),
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._parent.stdout is not None
        assert self._parent.stdout.readline() == "ready\n"
        connection = self._connect()
        assert connection is not None
        return connection


@functools.cache
def prepared_page() -> PreparedProgram:
    """Return the program that starts pages, and the commands that run beside them."""
    program = PreparedProgram(f"{LIBRARIES}; {PAGE}")
    atexit.register(program.close)
    return program


def wait_for_worker(path: str) -> None:
    """Fork for each worker that connects, and return in the forks. End with the worker that started this process."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("ready", flush=True)
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    os.dup2(connection.fileno(), 0)
                    os.dup2(connection.fileno(), 1)
                    return
    os._exit(0)


def wait_for_command() -> list[str]:
    """Fork for each command on the standard input, and return its arguments in the fork."""
    for line in iter(sys.stdin.readline, ""):
        job = json.loads(line)
        if "pid" in job:
            print(os.waitstatus_to_exitcode(os.waitpid(job["pid"], 0)[1]), flush=True)
            continue
        child = os.fork()
        if child == 0:
            os.chdir(job["folder"])
            os.environ.clear()
            os.environ.update(job["env"])
            for number, name in enumerate((os.devnull, "out", "err")):
                file = os.open(os.path.join(job["outputs"], name), os.O_RDWR | os.O_APPEND)
                os.dup2(file, number)
                os.close(file)
            arguments: list[str] = job["arguments"]
            return arguments
        print(child, flush=True)
    os._exit(0)


def run_to_its_end(arguments: list[str]) -> None:
    """Run a command, and exit as a search does: tearing down the libraries would copy the forks' shared memory."""
    from pipelines.cli import main

    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    status = 0
    try:
        main(arguments)
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    exec(sys.argv[1])
    gc.freeze()  # a garbage collection would touch, and so copy, every object that the forks share
    wait_for_worker(sys.argv[2])
    run_to_its_end(wait_for_command())
