"""Do rate and memory stay flat over a long run, and what does a second run cost? `make bench-scale`

Generates small pictures, indexes them by the command line into a fresh Milvus Lite file, and prints rate and resident
memory at a tenth, half and the end; the time of a second run, which changes nothing; and how long a CSV of a million
rows takes to be parsed and checked, and in which memory.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from tabulate import tabulate

FOLDER_SIZE = 10_000
_INSERT = """
import json, sys, time
from pipelines import Settings, run_insert
start, marks = time.perf_counter(), []
def memory():
    return int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0]) / 1024
def note(summary, total):
    for share in (0.1, 0.5, 1.0):
        if summary.rows >= share * total and len(marks) == (0.1, 0.5, 1.0).index(share):
            marks.append([share, summary.rows, time.perf_counter() - start, memory()])
summary = run_insert(sys.argv[1], Settings(uri=sys.argv[2], model="builtin"), on_progress=note)
print(json.dumps({"marks": marks, "seconds": summary.seconds, "inserted": summary.inserted,
                  "unchanged": summary.unchanged, "wall": time.perf_counter() - start}))
"""
_PARSE = """
import json, sys, time
from pipelines.sources.source import open_source
start = time.perf_counter()
source = open_source(sys.argv[1])
checked, count = time.perf_counter() - start, 0
for chunk in source.chunks(1000):
    count += len(chunk)
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({"rows": count, "check": checked, "whole": time.perf_counter() - start, "peak": peak}))
"""


def draw_small(folder: Path, count: int) -> None:
    """Distinct JPEGs of 96×72 pixels: a few hundred patterns, each with another corner."""
    random = np.random.default_rng(0)
    patterns = [
        np.asarray(
            Image.fromarray(random.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize(
                (96, 72), Image.Resampling.BICUBIC
            )
        )
        for _ in range(256)
    ]
    for number in range(count):
        if number % FOLDER_SIZE == 0:
            part = folder / f"{number // FOLDER_SIZE:03}"
            part.mkdir(parents=True)
        picture = patterns[number % len(patterns)].copy()
        picture[:36, :48] = random.integers(0, 255, 3, dtype=np.uint8)
        picture[36:, 48:] = random.integers(0, 255, 3, dtype=np.uint8)
        Image.fromarray(picture).save(part / f"{number:07}.jpg", quality=85)


def run_json(code: str, *arguments: object) -> dict[str, object]:
    """Runs code in a process of its own; returns what it printed."""
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def write_long_csv(path: Path, rows: int) -> None:
    """A CSV of as many rows; the pictures need not be there to be compared."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "path", "label", "year", "price"])
        writer.writerows(
            [n, f"pictures/{n % 1000:03}/{n:08}.jpg", f"label {n % 300}", 1990 + n % 35, n / 8] for n in range(rows)
        )


def main() -> None:
    """Prints three tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--csv-rows", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.monotonic()
        draw_small(folder / "pictures", options.pictures)
        print(f"{options.pictures:,} pictures drawn in {time.monotonic() - start:.0f} s\n")
        first = run_json(_INSERT, folder / "pictures", folder / "s.db")
        last_rows, last_seconds, table = 0, 0.0, []
        for share, rows, seconds, memory in first["marks"]:  # type: ignore[attr-defined]
            table.append([
                f"{share:.0%}", f"{rows:,}", f"{(rows - last_rows) / (seconds - last_seconds):,.0f}", f"{memory:,.0f}",
            ])  # fmt: skip
            last_rows, last_seconds = rows, seconds
        print(tabulate(table, ["of the run", "rows", "pictures/s since the last line", "memory (MB)"], "github"))
        second = run_json(_INSERT, folder / "pictures", folder / "s.db")
        faster = float(first["seconds"]) / float(second["seconds"])  # type: ignore[arg-type]
        print(f"\nfirst run {first['seconds']} s; second run {second['seconds']} s, {second['unchanged']:,} unchanged")
        print(f"the second run is {faster:.1f} × as fast")
        print(f"(with start-up and model: {first['wall']:.1f} and {second['wall']:.1f} s)\n")
        write_long_csv(folder / "long.csv", options.csv_rows)
        short, long = folder / "short.csv", folder / "long.csv"
        write_long_csv(short, options.csv_rows // 10)
        table = [
            [f"{r['rows']:,}", f"{r['check']:.1f}", f"{r['whole']:.1f}", f"{r['peak']:,.0f}"]
            for r in (run_json(_PARSE, short), run_json(_PARSE, long))
        ]
        print(
            tabulate(table, ["rows of the CSV", "s to check", "s with reading it again", "peak memory (MB)"], "github")
        )


if __name__ == "__main__":
    main()
