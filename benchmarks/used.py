"""The memory and CPU time that processes have used."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Used(NamedTuple):
    """Resident memory in MB, and the CPU seconds of all threads."""

    memory: float
    seconds: float

    def since(self, before: Used) -> float:
        """Return the CPU seconds used since `before`."""
        return self.seconds - before.seconds


def used_by(group: int) -> Used:
    """Return the total use of a process group."""
    memory = seconds = 0.0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # the process has ended
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
                memory += int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return Used(memory, seconds)
