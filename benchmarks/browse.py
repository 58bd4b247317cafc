"""Measure lists without a query, sorted by a column, and facets: `make bench-browse`

Fill collections with random vectors and the columns of camera images in dated folders. Open each collection in its own
process, and print the time of the first page, of further pages of 24 images, and of facets.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmarks.harness import measure, report
from benchmarks.milvus_server import MilvusServer, find_program
from benchmarks.used import Used
from pipelines import Searcher, Settings
from pipelines.fields import Field, FieldType
from pipelines.milvus.collection import Collection
from pipelines.milvus.connection import close_all
from pipelines.milvus.index import Index
from pipelines.query import Query

PAGE, REPEATS = 24, 20
ROWS_PER_WRITE, DIM = 1000, 8
FOLDERS, LABELS, CAMERAS = 20_000, 300, 40
DAY = 86_400_000
FIELDS = (
    Field("label", FieldType.TEXT), Field("title", FieldType.TEXT), Field("taken", FieldType.DATE, from_file=True),
    Field("modified", FieldType.DATE, from_file=True), Field("camera", FieldType.TEXT, from_file=True),
    Field("width", FieldType.INT, from_file=True), Field("rating", FieldType.INT, from_file=True),
    Field("latitude", FieldType.FLOAT, from_file=True), Field("featured", FieldType.BOOL),
)  # fmt: skip
LISTS = {
    "all, by date": ("", "date"),
    "all, by name": ("", "name"),
    "a label, by path": ('label == "label 7"', "path"),
    "a year, by camera": ("taken >= 2020 and taken < 2021", "camera:desc"),
    "a folder, by date": ('path under "/photos/2003"', "date:asc"),
}


def fill(uri: str, rows: int) -> None:
    """Create and fill a collection."""
    collection, random = Collection(uri, "images"), np.random.default_rng(0)
    collection.create(DIM, FIELDS, Index("FLAT"))  # no vector is searched, and a server needs minutes for an index
    keys = [field.key for field in collection.fields()]
    for start in range(0, rows, ROWS_PER_WRITE):
        numbers = range(start, min(rows, start + ROWS_PER_WRITE))
        ids = random.integers(-(2**63), 2**63 - 1, len(numbers)).tolist()
        vectors = random.standard_normal((len(numbers), DIM), dtype=np.float32)
        collection.upsert(
            {"id": key, "embedding": vector, **_row(n), **dict(zip(keys, _cells(n, random), strict=True))}
            for key, vector, n in zip(ids, vectors, numbers, strict=True)
        )
    collection.flush()
    close_all()


def _row(number: int) -> dict[str, Any]:
    folder = number * 7919 % FOLDERS
    path = f"/photos/{2000 + folder % 25}/{folder % 12 + 1:02}/{folder:05}/IMG_{number}.jpg"
    return {
        "path": path, "_mtime_ns": number, "_size": number, "_model": "builtin@0", "_hash": "", "_source": "bench",
    }  # fmt: skip


def _cells(number: int, random: np.random.Generator) -> tuple[Any, ...]:
    """Return one value for each of FIELDS."""
    moment = int(random.integers(10_000, 20_000)) * DAY + int(random.integers(DAY))
    return (
        f"label {number % LABELS}", "" if number % 5 else f"title of {number}", moment if number % 10 else None,
        (11_000 + number % 9_000) * DAY, f"camera {number % CAMERAS}", 4000 + number % 50, number % 6 or None,
        None if number % 3 else number / 1e5, number % 9 == 0,
    )  # fmt: skip


def first_page(uri: str) -> dict[str, Any]:
    """Return the seconds to open the collection and to list the first page, and the CPU seconds of the latter."""
    start = time.perf_counter()
    searcher = Searcher(Settings(uri=uri))
    opened, used = time.perf_counter(), time.process_time()
    searcher.search(Query(limit=PAGE, order="date"))
    first, cpu = time.perf_counter() - opened, time.process_time() - used
    searcher.close()
    return {"open": opened - start, "first": first, "cpu": cpu}


def browse(uri: str) -> dict[str, list[float]]:
    """Return the median and longest milliseconds of further pages and of facets."""
    searcher, figures = Searcher(Settings(uri=uri)), {}
    for name, (filter, order) in LISTS.items():
        searcher.search(Query(limit=PAGE, filter=filter, order=order))  # computes the order once
        pages = [Query((), PAGE, PAGE * number, filter, order=order) for number in range(REPEATS)]
        figures[name] = _milliseconds([lambda page=page: searcher.search(page) for page in pages])  # type: ignore[misc]
    figures["facets of all"] = _milliseconds([searcher.facets] * 5)
    figures["facets of a year"] = _milliseconds([lambda: searcher.facets("taken >= 2020 and taken < 2021")] * 5)
    searcher.close()
    return figures


def _milliseconds(calls: list[Callable[[], Any]]) -> list[float]:
    taken = []
    for call in calls:
        start = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - start))
    return [statistics.median(taken), max(taken)]


@dataclass(frozen=True)
class Milvus:
    """An empty Milvus. `used` returns what its processes have used, and zeros for Milvus Lite."""

    uri: str
    used: Callable[[], Used] = lambda: Used(0, 0)


@contextmanager
def milvus(kind: str) -> Iterator[Milvus]:
    """Yield a Milvus Lite file or a new server."""
    with tempfile.TemporaryDirectory() as folder:
        if kind == "lite":
            yield Milvus(str(Path(folder) / "b.db"))
            return
        with MilvusServer(Path(folder)) as server:
            yield Milvus(server.uri, server.used)


def compare(kind: str, rows: int) -> None:
    """Fill a Milvus. Print the cost of the first page, and a table of the times of further pages."""
    with milvus(kind) as place:
        fill(place.uri, rows)
        before = place.used()
        first = measure("benchmarks.browse", "first", uri=place.uri)
        sent = place.used().since(before)
        figures = measure("benchmarks.browse", "browse", uri=place.uri)
    print(
        f"\n{rows:,} rows on {'Milvus Lite' if kind == 'lite' else 'a server'}: opened in {first['open']:.1f} s, first "
        f"page after {first['first']:.1f} s, for {first['cpu']:.1f} CPU seconds and {sent:.1f} of the server, "
        f"{figures.pop('peak_mb'):,.0f} MB\n"
    )
    table = [[name, f"{median:.0f}", f"{most:.0f}"] for name, (median, most) in figures.items()]
    print(tabulate(table, ["", "median ms", "longest ms"], "github"), flush=True)


def main() -> None:
    """Print one table for each kind of Milvus and number of rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.browse", description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--on", nargs="+", choices=["lite", "server"])
    parser.add_argument("--subject", help=argparse.SUPPRESS)
    parser.add_argument("--arguments", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.subject:
        report({"first": first_page, "browse": browse}[options.subject](**options.arguments))
        return
    for kind in options.on or ["lite", *(["server"] if find_program() else [])]:
        for rows in options.rows:
            compare(kind, rows)


if __name__ == "__main__":
    main()
