"""What processes have used so far: memory and processor time."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Used(NamedTuple):
    """Resident memory in MB, and the processor time of all threads in seconds."""

    memory: float
    seconds: float

    def since(self, before: Used) -> float:
        """Return the processor time since another moment."""
        return self.seconds - before.seconds


def used_by(group: int) -> Used:
    """Add up what the processes of a group use."""
    memory = seconds = 0.0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
                memory += int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return Used(memory, seconds)
