"""Estimate what many rows need, from the measurements of `benchmarks.vectors`: `make forecast`

    python -m benchmarks.forecast [--rows 100000000] [--machine-memory 64] [--machine-cores 16] [--figures …]

File sizes and embedding time are proportional to the rows. Import time, memory and the server's CPU time per search lie
on the straight line through the two measured numbers of rows. The latter is linear because a search visits every
segment, and the size of a segment is fixed. Networks, replicas and disks were not measured and are left out.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tabulate import tabulate

FIGURES = Path(__file__).parent / "vectors.json"
USABLE = 0.7  # share of a machine's memory and cores; the rest is for compaction, index builds and the system
_HOUR = 3600


def forecast(figures: dict[str, Any], rows: int, memory_gb: float, cores: int) -> str:
    """Return a Markdown table.

    Args:
        figures: the output of `benchmarks.vectors`.
        memory_gb, cores: the size of one machine.
    """
    small, large = figures["sizes"]
    lines: list[list[str]] = []

    def line(name: str, unit: Callable[[float], str], *values: float) -> None:
        lines.append([name, *(unit(value) for value in values)])

    measured = large["rows"]
    line("vectors as files", _gigabytes, large["files"], large["files"] / measured * rows)
    embed = figures["embed"]
    line("embed, hours of one core", _number, embed * measured / _HOUR, embed * rows / _HOUR)
    for way in ("import by upsert", "import by bulk load"):
        index = "index hnsw" + " of bulk load" * ("bulk" in way)
        taken = [size["work"][way]["client"] + size["work"][way]["server"] + size["work"][index]["client"]
                 + size["work"][index]["server"] for size in (small, large)]  # fmt: skip
        line(f"{way} with hnsw, hours of one core", _number, taken[1] / _HOUR, _at(rows, small, large, *taken) / _HOUR)
    needed = {}
    for name in ("HNSW", "IVF_SQ8"):
        needed[name] = _at(rows, small, large, small["memory"][name], large["memory"][name])
        line(f"memory of the server, {name.lower()}", _gigabytes, large["memory"][name], needed[name])
    usable = USABLE * memory_gb * 1024
    machines = {name: math.ceil(megabytes / usable) for name, megabytes in needed.items()}
    for name, count in machines.items():
        line(f"machines of {memory_gb:g} GB for that, {name.lower()}", _number, 1, count)
    search = [size["answers"]["8"]["server"] for size in (small, large)]
    pages = large["answers"]["8"]["page"]
    line("a search: ms of processor time of the page", _number, pages, pages)
    server = _at(rows, small, large, *search)
    line("a search: ms of processor time of the server, hnsw", _number, search[1], server)
    available = 1000 * USABLE * cores
    rates = available / search[1], available * machines["HNSW"] / server
    line(f"searches a second by these machines, {cores} cores each, hnsw", _number, *rates)
    headers = ["", f"{measured:,} rows, measured", f"{rows:,} rows, worked out"]
    return tabulate(lines, headers, "github", disable_numparse=True)


def _at(rows: int, small: dict[str, Any], large: dict[str, Any], first: float, second: float) -> float:
    """Return the value at `rows` on the line through two measurements. A falling line counts as level."""
    slope = max(0.0, (second - first) / (large["rows"] - small["rows"]))
    return second + slope * (rows - large["rows"])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"


def _gigabytes(megabytes: float) -> str:
    return f"{_number(megabytes / 1024)} GB"


def main() -> None:
    """Print the machine of the measurements, and the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecast", description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--machine-memory", type=float, default=64, help="GB")
    parser.add_argument("--machine-cores", type=int, default=16)
    parser.add_argument("--figures", type=Path, default=FIGURES)
    given = parser.parse_args()
    if not given.figures.exists():
        raise SystemExit(f"there are no figures in {given.figures}: `make bench-vectors` measures them")
    figures = json.loads(given.figures.read_text())
    print(f"Measured on {figures['machine']}; {figures['dim']} dimensions.\n")
    print(forecast(figures, given.rows, given.machine_memory, given.machine_cores))


if __name__ == "__main__":
    main()
