"""Compare Milvus Lite as installed with the replacements of `lite_fast_path`: `make bench-lite`

Fill a Milvus Lite file with random vectors, make the same calls in a process of each kind, and print their times.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from pipelines.fields import Field, FieldType
from pipelines.milvus import lite_fast_path
from pipelines.milvus.collection import Collection
from pipelines.milvus.connection import close_all

ROWS_PER_WRITE = 1000
REPEATS = 20
SLOW_REPEATS = 3
FIELDS = ["path", "share"]


def fill(path: Path, rows: int, dim: int) -> None:
    """Fill a collection with random vectors and ids; `share` is a number from 0 to 99, for filters."""
    collection, random = Collection(str(path), "bench"), np.random.default_rng(0)
    collection.create(dim, (Field("share", FieldType.INT),))
    for start in range(0, rows, ROWS_PER_WRITE):
        keys = random.integers(-(2**63), 2**63 - 1, ROWS_PER_WRITE).tolist()
        numbers = range(start, min(rows, start + ROWS_PER_WRITE))
        collection.upsert(
            {
                "id": key, "embedding": vector, "path": f"{n:08d}.jpg", "_mtime_ns": n, "_size": n, "_model": "none",
                "_hash": f"{n:032x}", "_source": "bench", "share": n % 100,
            }
            for key, vector, n in zip(keys, _directions(random, len(numbers), dim), numbers, strict=False)
        )  # fmt: skip
    collection.optimize()
    close_all()


def measure(path: Path, dim: int) -> dict[str, float]:
    """Return the median milliseconds of each call, and the resident megabytes of this process."""
    importlib.import_module("milvus_lite.adapter.grpc.server")  # before the clock starts
    random, figures = np.random.default_rng(1), {}

    def search(expression: str = "", queries: int = 1) -> Any:
        return collection.search(_directions(random, queries, dim), 24, expression, FIELDS)

    start = time.perf_counter()
    collection = Collection(str(path), "bench")
    search()
    figures["open and search, ms"] = (time.perf_counter() - start) * 1e3
    figures["resident then, MB"] = _resident()
    figures["search, top 24, ms"] = _median(search)
    figures["search of 50 vectors, ms"] = _median(lambda: search(queries=50), SLOW_REPEATS)
    for share in (1, 10, 50):
        figures[f"search in {share} % of the rows, ms"] = _median(partial(search, f"share < {share}"))
    figures["count, ms"] = _median(collection.count)
    figures["count with a filter, ms"] = _median(lambda: collection.count("share < 10"), SLOW_REPEATS)
    start = time.perf_counter()
    ids = [row["id"] for row in collection.query("", ["id"])]
    figures["list all ids, ms"] = (time.perf_counter() - start) * 1e3
    some = random.choice(ids, 1000).tolist()
    figures["get 1,000 rows, ms"] = _median(lambda: collection.get(some, FIELDS))
    return figures


def _directions(random: np.random.Generator, count: int, dim: int) -> np.ndarray:
    vectors = random.standard_normal((count, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _median(call: Callable[[], Any], repeats: int = REPEATS) -> float:
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1e3


def _resident() -> float:
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--measure", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--untouched", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        if options.untouched:
            lite_fast_path.KNOWN_VERSIONS = frozenset()
        print(json.dumps(measure(Path(options.measure), options.dim)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bench.db")
        fill(path, options.rows, options.dim)
        command = [sys.executable, "-m", "benchmarks.lite", "--measure", str(path), "--dim", str(options.dim)]
        runs = [subprocess.run([*command, *more], capture_output=True, check=True) for more in (["--untouched"], [])]
    before, after = (json.loads(run.stdout) for run in runs)
    table = [[name, before[name], after[name], before[name] / after[name]] for name in before]
    print(f"{options.rows:,} rows × {options.dim}")
    print(tabulate(table, ["", "Milvus Lite", "replaced", "×"], floatfmt=",.1f", tablefmt="github"))


if __name__ == "__main__":
    main()
