"""How many threads work on the CPU: by default one for each core that this process may use."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def resolve_threads(threads: int) -> int:
    """Return a number of threads as given; 0 stands for `usable_cores`."""
    return threads or usable_cores()


def allowed_cores() -> int:
    """Return how many cores the system may run this process on (`taskset`, Slurm, a cpuset)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return multiprocessing.cpu_count()


def usable_cores(membership: Path = MEMBERSHIP, cgroups: Path = CGROUPS) -> int:
    """Return the allowed cores, or fewer where a container (`docker run --cpus`, Kubernetes) limits their time.

    Args:
        membership: names the process's control groups, as /proc/self/cgroup does.
        cgroups: where the control groups are mounted.
    """
    quotas = [math.ceil(quota) for quota in _quotas(membership, cgroups)]
    return max(1, min([allowed_cores(), *quotas]))


def _quotas(membership: Path, cgroups: Path) -> Iterator[float]:
    """Yield the limits of the process's groups and of all groups around them, in cores."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):
            root = cgroups / controllers
            # Inside a container the group's name may be that on the host, and only the root may be mounted.
            inside = root / group.strip("/")
            yield from (quota for folder in (inside, *inside.parents) if (quota := _quota(folder)))


def _quota(folder: Path) -> float:
    """Return a group's limit in cores, 0 without a limit. Control groups of version 2 come first, then version 1."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return max(0.0, int(quota) / int(period))
    except (OSError, ValueError):  # "max", or no such group
        return 0.0
