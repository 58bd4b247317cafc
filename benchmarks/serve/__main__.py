"""Measure searches over HTTP with 1, 8 and 50 users, on each index, and NumPy and faiss alone: `make bench-serve`

    python -m benchmarks.serve [--rows 100000 1000000] [--index exact ivf_sq8 hnsw] [--seconds 20] [--keep FOLDER]

The page runs in one process and the users in another, on the same cores. Rows are random unit vectors: the time of an
exact search does not depend on their content, and they are the hardest case for a graph index. If a Milvus server is
installed (`make .venv-milvus/bin/milvus-server`), it is measured too, with 100,000 rows.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.harness import machine, measure, report, table
from benchmarks.milvus_server import MilvusServer, find_program
from benchmarks.serve.rows import DIM, SHARES, fill, limits, recall
from benchmarks.serve.users import serve
from pipelines.milvus.collection import Collection
from pipelines.milvus.connection import close
from pipelines.milvus.index import AUTO, Index

SERVER_ROWS = 100_000
USERS = (1, 8, 50)
WARM_UP_SECONDS = 5.0
SMALL_PATHS = ("/healthz", "/readyz", "/api/info", "/thumb/0")
PAGES = (90, 990)  # offsets
Figures = dict[str, str]


def main() -> None:
    """Print one table for each kind of Milvus."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20, help="of each number of users")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000], help="on Milvus Lite")
    parser.add_argument("--index", nargs="+", default=["exact", "ivf_sq8", "hnsw"], help="on Milvus Lite")
    parser.add_argument("--on", nargs="+", choices=["lite", "server"], default=["lite", "server"])
    parser.add_argument("--keep", type=Path, help="a folder that keeps the filled Milvus Lite files for the next time")
    parser.add_argument("--subject", help=argparse.SUPPRESS)
    parser.add_argument("--arguments", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.subject:
        report(limits(**options.arguments) if options.subject == "limits" else _open(**options.arguments))
        return
    print(machine())
    with ExitStack() as stack:
        if "lite" in options.on:
            folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="serve-")))
            folder.mkdir(parents=True, exist_ok=True)
            indexes = {name: Index(AUTO if name == "exact" else name.upper()) for name in options.index}
            for rows in options.rows:
                _print(str(folder / f"rows-{rows}.db"), folder, rows, indexes, options.seconds)
        if "server" in options.on and find_program():
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="serve-")))
            uri = stack.enter_context(MilvusServer(place)).uri
            _print(uri, place, min(SERVER_ROWS, max(options.rows)), {"hnsw": Index("HNSW")}, options.seconds)


def _print(uri: str, folder: Path, rows: int, indexes: dict[str, Index], seconds: float) -> None:
    """Fill a collection unless it exists, and print its table."""
    place = "a server" if "://" in uri else "Milvus Lite"
    filled = "" if Collection(uri, "images").exists() else f", filled at {fill(uri, rows, folder):,.0f} rows/s"
    close(uri)
    print(f"\n{rows:,} random rows × {DIM} on {place}{filled}; {max(USERS)} texts at once by the model alone: ", end="")
    alone = measure("benchmarks.serve", "limits", rows=rows)
    print(f"{alone.pop('model'):,.0f}/s\n", flush=True)
    truth, columns = alone.pop("truth"), dict[str, Figures]()
    for name, index in indexes.items():
        collection, start = Collection(uri, "images"), time.perf_counter()
        collection.optimize(index)
        figures = {"index built in, s": f"{time.perf_counter() - start:.1f}"}
        figures["recall@10"] = f"{recall(collection, truth):.3f}"
        close(uri)
        columns[name] = figures | _measure(uri, seconds)
    names = list(next(iter(columns.values())))
    columns |= {name: _alone(alone[name]) for name in ("NumPy alone", "faiss flat alone")}
    table([[row, *(figures.get(row, "–") for figures in columns.values())] for row in names], ["", *columns])


def _measure(uri: str, seconds: float) -> Figures:
    """Search one collection, first in a new process without HTTP, then through the page."""
    opened = measure("benchmarks.serve", "open", uri=uri)
    figures = {"opened and first searched, s": f"{opened['seconds']:.2f}"}
    with serve(uri) as page:
        figures["page: first answer after its start, s"] = f"{page.first_answer:.2f}"
        page.search(max(USERS), WARM_UP_SECONDS)  # the page starts threads and allocates their buffers under load
        wrong, brief = 0, seconds / 4
        for users in USERS:
            load = page.search(users, seconds)
            wrong += load.errors
            name = f"{users} user{'s' * (users > 1)}"
            figures[f"{name}, p50 ms"], figures[f"{name}, p99 ms"] = f"{load.p50:.1f}", f"{load.p99:.1f}"
            figures[f"{name}, searches/s"] = f"{load.rate:,.1f}"
        for share in SHARES:
            load = page.search(1, brief, filter=f"share < {share}")
            wrong += load.errors
            figures[f"1 user, a filter that leaves {share} %, p50 ms"] = f"{load.p50:.1f}"
        for offset in PAGES:
            load = page.search(1, brief, offset=offset)
            wrong += load.errors
            figures[f"1 user, hits from {offset + 1:,} on, p50 ms"] = f"{load.p50:.1f}"
        for path in SMALL_PATHS:
            figures[f"{path}, p50 ms"] = f"{page.get(path):.1f}"
        figures["memory of the page, MB"] = f"{page.memory():,.0f}"
        figures["wrong answers"] = str(wrong)
    return figures


def _alone(times: dict[str, float]) -> Figures:
    """Return the figures of a library that only searches, for the rows of the table."""
    return {
        "recall@10": "1.000", "1 user, p50 ms": f"{times['p50']:.1f}", "1 user, p99 ms": f"{times['p99']:.1f}",
        "50 users, searches/s": f"{times['rate']:,.1f}",
    }  # fmt: skip


def _open(uri: str) -> dict[str, Any]:
    """Open a collection, search it once, and return the seconds."""
    from pipelines import Searcher, Settings

    start = time.perf_counter()
    with Searcher(Settings(uri=uri)) as searcher:
        searcher.by_text("a white dog")
        return {"seconds": time.perf_counter() - start}


if __name__ == "__main__":
    main()
