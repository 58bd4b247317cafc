"""Untrusted models: folders and weights files, each loaded by its own command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from .outcome import Outcome
from .page import Page

_REFUSED = 3  # exit status for a model that cannot be used
_SECONDS, _MEMORY_MB = 20, 1024  # limits of CPU time and memory, including the start of the program


class Refusal(NamedTuple):
    """How a command ended: its exit status, the lines it printed, its CPU seconds and its peak memory in MB."""

    status: int
    lines: list[str]
    seconds: float
    peak_mb: float

    @property
    def is_plain(self) -> bool:
        """Whether the command refused the model in one line, within the limits."""
        within = self.seconds < _SECONDS and self.peak_mb < _MEMORY_MB
        return self.status == _REFUSED and len(self.lines) == 1 and within


def hostile_models(page: Page) -> Outcome:
    """The models of `benchmarks.hostile_models`, one after the other."""
    # A child process inherits the peak memory of its parent, and this process has made large images.
    started = [sys.executable, "-W", "ignore", "-m", "benchmarks.attack.models"]
    found = json.loads(subprocess.run(started, check=True, stdout=subprocess.PIPE).stdout)
    refusals = {name: Refusal(*values) for name, values in found["refusals"].items()}
    wrong = [name for name, refusal in refusals.items() if not refusal.is_plain]
    slowest, most = (max(getattr(one, of) for one in refusals.values()) for of in ("seconds", "peak_mb"))
    note = "; ".join([f"slowest {slowest:.1f} s of CPU, at most {most:.0f} MB", *wrong[:3]])
    return Outcome("hostile models", len(refusals), not wrong and not found["was_run"], note)


def main() -> None:
    """Try all models. Print as JSON how each was refused, and whether one of them ran a command."""
    with tempfile.TemporaryDirectory() as name:
        make = [sys.executable, "-W", "ignore", "-m", "benchmarks.hostile_models", name]
        models = json.loads(subprocess.run(make, check=True, stdout=subprocess.PIPE).stdout)
        refusals = {kind: refusal_of(options, Path(name)) for kind, options in models.items()}
        print(json.dumps({"refusals": refusals, "was_run": Path(name, "stolen").exists()}))


def refusal_of(options: list[str], folder: Path) -> Refusal:
    """Index an image with a model. `ulimit` ends the command at twice _SECONDS of CPU time or 8 GB of memory."""
    images = folder / "images"
    if not images.exists():
        images.mkdir()
        (images / "a.png").write_bytes(b"")
    limited = ["bash", "-c", f'ulimit -t {2 * _SECONDS} -d {2**23}; exec "$0" "$@"', sys.executable, "-W", "ignore"]
    command = [*limited, "-m", "pipelines", "insert", str(images), "--uri", str(folder / "x.db"), *options]
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT,
            env={**os.environ, "IMAGE_SEARCH_CACHE": str(folder / "cache")},
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        lines = output.read().splitlines()
    return Refusal(process.returncode, lines, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


ATTACKS = (hostile_models,)

if __name__ == "__main__":
    main()
