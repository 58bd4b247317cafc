"""Does memory grow with the length of the CSV? `python -m benchmarks.memory`

Insert 2,000 and then 20,000 rows, each in a new process, and print the peak memory of each.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from tabulate import tabulate

_MEASURE = """
import json, sys
from pipelines import Settings, run_insert
summary = run_insert(sys.argv[1], Settings(uri=sys.argv[2], model="builtin"), rejects=sys.argv[2] + ".csv")
# Not getrusage: its peak can be that of the parent process.
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({"inserted": summary.inserted, "rate": summary.images_per_second, "peak": peak}))
"""


def draw(folder: Path, count: int) -> list[Path]:
    """Write JPEGs of 320×240 pixels, and return their paths."""
    random = np.random.default_rng(0)
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for path in paths:
        coarse = Image.fromarray(random.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        coarse.resize((320, 240), Image.Resampling.BICUBIC).save(path, quality=92)
    return paths


def measure(folder: Path, rows: int, paths: list[Path]) -> dict[str, float]:
    """Return the inserted rows, images/s and peak resident memory in MB of one insert."""
    table = folder / f"{rows}.csv"
    copies = folder / f"{rows}"
    copies.mkdir()
    images = [path.read_bytes() for path in paths]
    for n in range(rows):  # bytes after a JPEG's end make each file new, so each image is embedded
        (copies / f"{n}.jpg").write_bytes(images[n % len(images)] + b"%d" % n)
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows([["id", "path"], *([n, copies / f"{n}.jpg"] for n in range(rows))])
    command = [sys.executable, "-W", "ignore", "-c", _MEASURE, str(table), str(folder / f"{rows}.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Print a row for each run, and the ratio of the peaks."""
    with tempfile.TemporaryDirectory() as folder:
        paths = draw(Path(folder), 200)
        results = {rows: measure(Path(folder), rows, paths) for rows in (2_000, 20_000)}
    table = [
        [f"{rows:,}", f"{r['inserted']:,.0f}", f"{r['peak']:,.0f}", f"{r['rate']:,.0f}"] for rows, r in results.items()
    ]
    print(tabulate(table, headers=["rows", "inserted", "peak memory (MB)", "images/s"], tablefmt="github"))
    print(f"\n20,000 rows take {results[20_000]['peak'] / results[2_000]['peak']:.2f} × the memory of 2,000")


if __name__ == "__main__":
    main()
