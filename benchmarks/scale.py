"""Do rate and memory stay flat over a long run, and what does a second run cost? `make bench-scale`

Generate small images, index them into a fresh Milvus Lite file, and print the rate and the resident memory at a tenth,
at half and at the end; the time of a second run, which changes nothing; and the time and memory to parse a CSV of a
million rows and to compare it with a collection that holds them.
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
CSV_IMAGES = 1_000
# Begins each program below. In MB, "VmRSS" is current, "VmHWM" the peak; that of getrusage may be a parent's.
_MEMORY = """
def memory(name):
    return int(open("/proc/self/status").read().split(name + ":")[1].split()[0]) / 1024
"""
_INSERT = """
import json, sys, time
from pipelines import Settings, run_insert
start, marks = time.perf_counter(), []
def note(summary, total):
    for share in (0.1, 0.5, 1.0):
        if summary.rows >= share * total and len(marks) == (0.1, 0.5, 1.0).index(share):
            marks.append([share, summary.rows, time.perf_counter() - start, memory("VmRSS")])
summary = run_insert(sys.argv[1], Settings(uri=sys.argv[2], model="builtin"), on_progress=note)
print(json.dumps({"marks": marks, "seconds": summary.seconds, "inserted": summary.inserted,
                  "unchanged": summary.unchanged, "wall": time.perf_counter() - start}))
"""
# Makes the collection that an insert of the CSV makes, but with random embeddings, which the comparison does not read.
_FILL = """
import json, sys
import numpy
from pipelines.indexing.plan import Planner
from pipelines.indexing.steps import Reuse
from pipelines.indexing.prune import source_name
from pipelines.milvus.collection import Collection
from pipelines.models.clip import load_model
from pipelines.sources import open_source
source, store, model = open_source(sys.argv[1]), Collection(sys.argv[2], "images"), load_model("builtin")
store.create(model.spec.dim, source.fields)
planner, random = Planner(store, model.model_id, source_name(sys.argv[1])), numpy.random.default_rng(0)
for chunk in source.chunks(1000):
    vectors = random.standard_normal((len(chunk), model.spec.dim), dtype=numpy.float32)
    vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
    steps = [step.embed if isinstance(step, Reuse) else step for step in planner.plan(chunk)]
    store.upsert({**step.entity, "embedding": vector} for step, vector in zip(steps, vectors))
store.optimize()
print(json.dumps({"rows": store.count()}))
"""
# Runs the insert, and prints the memory of the process before it reads the CSV.
_DIFF = """
import json, sys, time
from pipelines import Settings, run_insert
from pipelines.milvus.collection import Collection
from pipelines.models.clip import load_model
load_model("builtin")
Collection(sys.argv[2], "images").load()
before = memory("VmRSS")
summary = run_insert(sys.argv[1], Settings(uri=sys.argv[2], model="builtin"))
print(json.dumps({"unchanged": summary.unchanged, "metadata_updated": summary.metadata_updated,
                  "rejected": summary.rejected, "seconds": summary.seconds, "before": before, "peak": memory("VmHWM")}))
"""
_PARSE = """
import json, sys, time
from pipelines.sources import open_source
start = time.perf_counter()
source = open_source(sys.argv[1])
checked, count = time.perf_counter() - start, 0
for chunk in source.chunks(1000):
    count += len(chunk)
print(json.dumps({"rows": count, "check": checked, "whole": time.perf_counter() - start, "peak": memory("VmHWM")}))
"""


def draw_small(folder: Path, count: int) -> None:
    """Draw distinct JPEGs of 96×72 pixels: 256 patterns, with new colours in two quarters of each image."""
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
        image = patterns[number % len(patterns)].copy()
        image[:36, :48] = random.integers(0, 255, 3, dtype=np.uint8)
        image[36:, 48:] = random.integers(0, 255, 3, dtype=np.uint8)
        Image.fromarray(image).save(part / f"{number:07}.jpg", quality=85)


def run_json(code: str, *arguments: object) -> dict[str, object]:
    """Run code in a new process, and return the JSON of its last line."""
    command = [sys.executable, "-W", "ignore", "-c", _MEMORY + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def write_long_csv(path: Path, rows: int, images: Path, new_labels: int = 0) -> Path:
    """Write a CSV of `rows` rows with CSV_IMAGES real files; the last `new_labels` rows get a new label."""
    files = sorted(images.rglob("*.jpg"))[:CSV_IMAGES]
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "path", "label", "year", "price"])
        for number in range(rows):
            label = f"label {number % 300}" + " again" * (number >= rows - new_labels)
            writer.writerow([number, files[number % len(files)], label, 1990 + number % 35, number / 8])
    return path


def long_run(images: Path, uri: str) -> None:
    """Print the rate and the memory during a run, and the time of a second run."""
    first = run_json(_INSERT, images, uri)
    last_rows, last_seconds, table = 0, 0.0, []
    for share, rows, seconds, memory in first["marks"]:  # type: ignore[attr-defined]
        rate = (rows - last_rows) / (seconds - last_seconds)
        table.append([f"{share:.0%}", f"{rows:,}", f"{rate:,.0f}", f"{memory:,.0f}"])
        last_rows, last_seconds = rows, seconds
    print(tabulate(table, ["of the run", "rows", "images/s since the last line", "memory (MB)"], "github"))
    second = run_json(_INSERT, images, uri)
    faster = float(first["seconds"]) / float(second["seconds"])  # type: ignore[arg-type]
    print(f"\nfirst run {first['seconds']} s; second run {second['seconds']} s, {second['unchanged']:,} unchanged")
    print(f"the second run is {faster:.1f} × as fast")
    print(f"(with start-up and model: {first['wall']:.1f} and {second['wall']:.1f} s)\n", flush=True)


def long_csv(folder: Path, images: Path, rows: int) -> None:
    """Print the time and memory to parse a long CSV, and to compare it with a collection that holds all of it."""
    short, long = (write_long_csv(folder / f"{n}.csv", n, images) for n in (rows // 10, rows))
    table = [
        [f"{r['rows']:,}", f"{r['check']:.1f}", f"{r['whole']:.1f}", f"{r['peak']:,.0f}"]
        for r in (run_json(_PARSE, short), run_json(_PARSE, long))
    ]
    print(tabulate(table, ["rows of the CSV", "s to check", "s with reading it again", "peak memory (MB)"], "github"))
    uri = str(folder / "long.db")
    filled = run_json(_FILL, long, uri)
    print(
        f"\ncompared with a collection of {filled['rows']:,} rows, none or 1,000 of the CSV's labels having changed:\n"
    )
    table = [[f"{rows:,}, none changed", *_compare(long, uri)]]
    for count in (rows // 10, rows):
        if len(table) > 1:
            run_json(_DIFF, write_long_csv(long, rows // 10, images), uri)  # restores the labels
        # Same name as the CSV that filled the collection, because the comparison includes the source of each row.
        table.append([f"{count:,}", *_compare(write_long_csv(long, count, images, new_labels=1000), uri)])
    headers = ["rows of the CSV", "unchanged", "metadata_updated", "rejected", "s", "memory before (MB)", "peak (MB)"]
    print(tabulate(table, headers, "github"))


def _compare(table: Path, uri: str) -> list[str]:
    result = run_json(_DIFF, table, uri)
    counts = [f"{result[name]:,}" for name in ("unchanged", "metadata_updated", "rejected")]
    return [*counts, f"{result['seconds']:.1f}", f"{result['before']:,.0f}", f"{result['peak']:,.0f}"]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--csv-rows", type=int, default=1_000_000)
    parser.add_argument("--only", choices=["run", "csv"], help="the long run, or the long CSV")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.monotonic()
        count = CSV_IMAGES if options.only == "csv" else options.images
        draw_small(folder / "images", count)
        print(f"{count:,} images drawn in {time.monotonic() - start:.0f} s\n", flush=True)
        if options.only != "csv":
            long_run(folder / "images", str(folder / "s.db"))
        if options.only != "run":
            long_csv(folder, folder / "images", options.csv_rows)


if __name__ == "__main__":
    main()
