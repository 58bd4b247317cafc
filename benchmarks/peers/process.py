"""Run a driver as a process, collect its findings and peak memory, and stop it at a limit of time or memory."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .driver import EVENT, Job

MEMORY_LIMIT_MB = 6_000
STOPPED = "stopped:"
_SAMPLE_SECONDS = 0.2
_ERROR = re.compile(r"^(?:[\w.]+\.)?\w*(?:Error|Exception|Exit|Interrupt)\b.*")


def run_driver(python: str, module: str, job: Job, seconds: float) -> dict[str, Any]:
    """Run a driver to its end, and return its findings; `error` describes a failure in one line.

    The findings also get `peak_mb`, the peak memory of all its processes together (shared pages counted once), and
    `started`, the wall-clock time just before its start.
    """
    Path(job.collection).mkdir(parents=True, exist_ok=True)
    job_file, log = Path(job.collection, f"{job.mode}.json"), Path(job.collection, f"{job.mode}.log")
    job_file.write_text(json.dumps(asdict(job)))
    started, peak, error = time.time(), 0.0, ""
    with open(log, "w") as output:
        process = subprocess.Popen(
            [python, "-W", "ignore", "-m", module, str(job_file)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "WANDB_MODE": "disabled"},
        )  # fmt: skip
        try:
            while process.poll() is None and not error:
                peak = max(peak, memory_mb(process.pid))
                if peak > MEMORY_LIMIT_MB:
                    error = f"{STOPPED} over {MEMORY_LIMIT_MB:,} MB of memory"
                elif time.time() - started > seconds:
                    error = f"{STOPPED} not done after {seconds:.0f} s"
                time.sleep(_SAMPLE_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    text = log.read_text(errors="replace")
    if not error and process.returncode:
        error = error_line(text) or f"it ended with {process.returncode}"
    findings: dict[str, Any] = {"started": started, "peak_mb": peak, "error": error}
    for line in text.splitlines():
        _, mark, found = line.partition(EVENT)
        if mark:
            with contextlib.suppress(ValueError):  # a killed process may leave half a line
                findings |= json.loads(found)
    return findings


def error_line(text: str) -> str:
    """Return the line of a log that names the error: the last one that looks like an exception, else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if _ERROR.match(line)]
    return (named or lines or [""])[-1][:200]


def memory_mb(session: int) -> float:
    """Return the memory of all processes of a session in MB, shared pages counted once (PSS); 0 without /proc."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # pid (name) state parent group session …; the name may hold anything, so count from its end
            if int(stat.read_text().rpartition(")")[2].split()[3]) == session:
                rollup = stat.with_name("smaps_rollup").read_text()
                total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1024
