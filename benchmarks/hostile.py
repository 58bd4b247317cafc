"""Does one bad file affect any other? `python -m benchmarks.hostile`

Index a CSV of 2,000 good images mixed with 200 hostile, broken and odd ones. Compare which were indexed, which were
rejected, and why, with the expected results. The exit status is 1 if they differ.
"""

from __future__ import annotations

import csv
import json
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from . import hostile_files

SECONDS = 300

_INSERT = """
import json, sys
from pipelines import Settings, run_insert
from pipelines.milvus.collection import Collection
summary = run_insert(sys.argv[1], Settings(uri=sys.argv[2], model="builtin"), rejects=sys.argv[3])
stored = Collection(sys.argv[2], "images").get(list(range(int(sys.argv[4]))), [])
# Not getrusage: its peak can be that of the parent process.
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1024
print(json.dumps({"stored": sorted(stored), "seconds": summary.seconds, "peak": peak, "rejected": summary.rejected}))
"""


class Outcome(NamedTuple):
    """The outcome of one run. `mistakes` are the differences from the expected results: (path, what happened)."""

    good: int
    odd: int
    bad: int
    reasons: list[str]
    mistakes: list[tuple[str, str]]
    seconds: float
    peak_mb: int


def run(folder: Path, good: int) -> Outcome:
    """Write `good` good images and the hostile files into an empty folder, and index them all in a new process."""
    cases = [hostile_files.Case(_draw(folder, number), "") for number in range(good)]
    cases += hostile_files.make(folder)
    random.Random(0).shuffle(cases)
    table, rejects = folder / "all.csv", folder / "rejects.csv"
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("id", "path"), *((number, case.path) for number, case in enumerate(cases))])
    command = [sys.executable, "-W", "ignore", "-c", _INSERT, table, folder / "all.db", rejects, str(len(cases))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise SystemExit(f"the run died with status {done.returncode}: {done.stderr[-2000:]}")
    result = json.loads(done.stdout.splitlines()[-1])
    with open(rejects, newline="", encoding="utf-8") as file:
        reasons = {int(row["id"]): row["reason"] for row in csv.DictReader(file)}
    stored = set(result["stored"])
    mistakes = []
    for number, case in enumerate(cases):
        reason = reasons.get(number, "")
        if (
            (number in stored) != (case.reason == "")
            or not re.search(case.reason, reason)
            or (reason and not case.reason)
        ):
            mistakes.append((case.path[:60], reason or ("indexed" if number in stored else "lost")))
    bad = sum(1 for case in cases if case.reason)
    odd = len(cases) - good - bad
    return Outcome(good, odd, bad, list(reasons.values()), mistakes, result["seconds"], result["peak"])


def _draw(folder: Path, number: int) -> str:
    name = f"good {number}.jpg"
    (folder / name).write_bytes(hostile_files.encoded("JPEG", hostile_files.sample_image(96, 72, seed=number + 1)))
    return name


def main() -> None:
    """Print the reasons, the counts and the peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(Path(folder), 2000)
    kinds = Counter(re.sub(r"\d+", "N", reason) for reason in outcome.reasons)
    print(tabulate(kinds.most_common(), headers=["reason (numbers as N)", "files"], tablefmt="github"))
    print(f"\n{outcome.good:,} good images, {outcome.odd} odd ones, {outcome.bad} that cannot be used")
    print(f"not as it should be: {len(outcome.mistakes)}")
    for path, happened in outcome.mistakes:
        print(f"  {path!r}: {happened}")
    print(f"{outcome.seconds:.0f} s, peak memory {outcome.peak_mb:,} MB")
    sys.exit(1 if outcome.mistakes else 0)


if __name__ == "__main__":
    main()
