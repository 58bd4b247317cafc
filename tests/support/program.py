"""Runs of the program in a separate process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.milvus_server import free_port as free_port

ROOT = Path(__file__).resolve().parents[2]


class CommandResult(NamedTuple):
    """How a command of the program ended."""

    status: int
    out: str
    err: str


def program_env(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a program, with this repository on the path and without the user's settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("IMAGE_SEARCH_")}
    return {**clean, "PYTHONPATH": str(ROOT), **(extra or {})}


def run_code(code: str, *arguments: object, env: dict[str, str] | None = None, timeout: float = 60) -> CommandResult:
    """Run Python code in a separate process."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=program_env(env), capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    return CommandResult(done.returncode, done.stdout, done.stderr)


# A background job ignores Ctrl-C, so this code turns it on again. `preexec_fn` would not do: it forks, and the child of
# a process with gRPC threads sometimes ends before it begins (SIGABRT, or a line of gRPC on stderr).
HEEDING_CTRL_C = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('pipelines', run_name='__main__', alter_sys=True)"
)


def start_program(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `image-search …` in a folder; Ctrl-C can be sent to it."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", HEEDING_CTRL_C, *arguments],
        cwd=folder, env=program_env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
