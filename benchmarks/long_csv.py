"""Is a long CSV read without holding it in memory? `python -m benchmarks.long_csv`

Check and read CSVs of 10,000 to 1,000,000 rows, each in a new process; the longest also as one of 16 shards.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate

_READ = """
import json, sys, time
import numpy, pandas  # not what is measured
from pipelines.sources import open_source
from pipelines.sources.source import Shard
start = time.perf_counter()
source = open_source(sys.argv[1], shard=Shard.parse(sys.argv[2]))
checked = time.perf_counter()
rows = sum(map(len, source.chunks(1000)))
read = time.perf_counter()
assert rows == source.total
# Not getrusage: its peak can be that of the parent process.
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1024
print(json.dumps({"rows": rows, "check": checked - start, "read": read - checked, "peak": peak}))
"""


def measure(table: Path, shard: str = "") -> dict[str, float]:
    """Return the rows, the seconds for the check and for the rows, and the peak memory in MB."""
    command = [sys.executable, "-c", _READ, str(table), shard]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def write(path: Path, rows: int, with_ids: bool) -> Path:
    """Write a CSV with a text column and a number column."""
    with open(path, "w") as file:
        file.write("id,path,label,views\n" if with_ids else "path,label,views\n")
        file.writelines(f"{f'{n},' if with_ids else ''}photos/{n}.jpg,label {n % 1000},{n}\n" for n in range(rows))
    return path


def main() -> None:
    """Print a row for each CSV, and the additional memory that a hundred times the rows take."""
    table, peaks = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for with_ids in (False, True):
            for rows in (10_000, 100_000, 1_000_000):
                path = write(Path(folder) / "long.csv", rows, with_ids)
                for shard in ("", "3/16") if rows == 1_000_000 else ("",):
                    result = measure(path, shard)
                    peaks[with_ids, rows, shard] = result["peak"]
                    table.append(
                        [
                            f"{rows:,}",
                            "given" if with_ids else "derived",
                            shard or "all",
                            f"{path.stat().st_size >> 20}",
                        ]
                        + [f"{result[name]:.2f}" for name in ("check", "read")]
                        + [f"{result['peak']:.0f}"]
                    )
    names = ["rows", "ids", "shard", "MB on disk", "check (s)", "read (s)", "peak memory (MB)"]
    print(tabulate(table, headers=names, tablefmt="github", disable_numparse=True))
    more = peaks[False, 1_000_000, ""] - peaks[False, 10_000, ""]
    print(f"\n1,000,000 rows take {more:.0f} MB more than 10,000")


if __name__ == "__main__":
    main()
