"""A long CSV on a small machine: it goes through, and memory does not grow with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from conftest import draw_pictures, program_env, write_csv

MEASURE = """
import json, resource, sys
from pipelines import Settings, run_insert
summary = run_insert(sys.argv[1], Settings(uri=sys.argv[2], model="builtin"))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"inserted": summary.inserted, "rejected": summary.rejected, "peak": peak}))
"""


def insert_in_a_process(folder: Path, rows: int, paths: list[Path]) -> dict[str, float]:
    table = write_csv(folder / f"{rows}.csv", ["id", "path"], [[n, paths[n % len(paths)]] for n in range(rows)])
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(table), str(folder / f"{rows}.db")],
        env=program_env(), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{rows:,} rows: peak memory {result['peak']:.0f} MB")
    return result


def test_20_000_rows_go_through_in_the_memory_of_2_000(tmp_path: Path) -> None:
    """Towhee's own scheduler hangs on this many rows with this many steps (6 threads on 2 cores)."""
    paths = draw_pictures(tmp_path / "photos", 200, size=(320, 240))
    paths[13].write_bytes(b"one bad picture")
    short, long = insert_in_a_process(tmp_path, 2_000, paths), insert_in_a_process(tmp_path, 20_000, paths)
    assert (short["inserted"], short["rejected"]) == (1_990, 10)
    assert (long["inserted"], long["rejected"]) == (19_900, 100)
    assert long["peak"] < 1.15 * short["peak"]
