"""Commands of the program in forks of a process that has imported what they need: most of a short command's time.

Run as a module, this is that process: it reads a command a line, and answers with a process id and an exit status.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path

from tests.support.program import ROOT, CommandResult, program_env

# What `insert` and `search` import; torch is half of it. Set before that, as the program does: two that keep quiet.
LIBRARIES = "numpy pyarrow pandas PIL.Image cv2 pymilvus milvus_lite openvino torch pipelines.cli.commands"
QUIET = {"OPENCV_LOG_LEVEL": "SILENT", "GRPC_VERBOSITY": "NONE"}


class PreparedProgram:
    """Runs `image-search …` in forks of one process, one after the other."""

    def __init__(self) -> None:
        self._parent: subprocess.Popen[str] | None = None

    def run(self, arguments: list[str], folder: Path) -> CommandResult:
        """Run a command in a folder; it is killed after four minutes."""
        if self._parent is None:
            self._parent = subprocess.Popen(
                [sys.executable, "-m", __name__], cwd=ROOT, env=program_env(QUIET), text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        with tempfile.TemporaryDirectory() as outputs:
            job = {"arguments": arguments, "folder": str(folder), "outputs": outputs}
            print(json.dumps(job), file=self._parent.stdin, flush=True)
            watchdog = threading.Timer(240, os.kill, (int(self._parent.stdout.readline()), signal.SIGKILL))
            watchdog.start()
            status = int(self._parent.stdout.readline())
            watchdog.cancel()
            return CommandResult(status, *(Path(outputs, name).read_text("utf-8") for name in ("out", "err")))

    def close(self) -> None:
        """End the process that is forked."""
        if self._parent is not None:
            self._parent.communicate()


def wait_for_command() -> list[str]:
    """Fork for each line of the standard input, and return in the forks, with what each is to run."""
    for line in iter(sys.stdin.readline, ""):
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            os.chdir(job["folder"])
            for number, name in enumerate((os.devnull, "out", "err")):
                file = os.open(os.path.join(job["outputs"], name), os.O_RDWR | os.O_CREAT)
                os.dup2(file, number)
                os.close(file)
            arguments: list[str] = job["arguments"]
            return arguments
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    os._exit(0)


def run_to_its_end(arguments: list[str]) -> None:
    """Run a command, and end as a search does: taking the libraries down would copy all that the forks share."""
    from pipelines.cli import main

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
    for library in LIBRARIES.split():
        __import__(library)
    gc.freeze()  # a collection would touch, and so copy, each object that the forks share
    run_to_its_end(wait_for_command())
