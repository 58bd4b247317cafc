"""Benchmark vectors on a Milvus server: export, upsert, bulk load and searches over HTTP. `make bench-vectors`

    python -m benchmarks.vectors [--rows 1000000] [--figures benchmarks/vectors.json]

Random unit vectors stand for real ones, under the model id of a ViT-B/32 with random weights. Everything is measured
with a tenth of the rows and with all of them, each on a new server, so that `benchmarks.forecast` can tell which
figures grow with the rows. Other load on the machine changes CPU seconds little, but wall-clock seconds a lot. The
index is HNSW, whatever index a collection of this size would get by default.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from pipelines import Settings, run_insert
from pipelines.indexing.bulk import BulkLoad
from pipelines.milvus.collection import Collection
from pipelines.milvus.connection import close
from pipelines.milvus.copy import copy_collection
from pipelines.milvus.index import Index
from pipelines.milvus.vector_folder import VectorFolder
from pipelines.models.clip import model_of

from .harness import MODEL, machine, peak_mb, photographs, random_weights
from .milvus_server import MilvusServer
from .serve.users import serve
from .used import used_by

USERS = (1, 8)
HNSW = Index("HNSW", "COSINE")
PHOTOGRAPHS = 100


@dataclass
class Work:
    """Wall-clock seconds, and the CPU seconds of this process and of the server."""

    seconds: float
    client: float
    server: float


@dataclass
class Figures:
    """The figures for one number of rows. Memory and sizes are in MB, `latency` is p50, p95 and p99 in milliseconds.

    memory: of the server by index, after a restart and with all rows loaded; 'empty' is without a collection.
    answers: by number of concurrent users: the fields of `Load`, and the CPU milliseconds of one answer in the page and
        in the server.
    """

    rows: int
    files: float = 0.0
    work: dict[str, Work] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    latency: dict[str, list[float]] = field(default_factory=dict)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    page: float = 0.0
    client_peak: float = 0.0


def main() -> None:
    """Measure, print and save the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vectors", description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=20, help="of each number of users")
    parser.add_argument("--figures", default="", help="also write the figures into this file, for benchmarks.forecast")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = Settings(model=MODEL, weights=str(random_weights(folder)))
        found = {"machine": machine(), "cores": os.cpu_count(), "dim": given.dim, "embed": embedding(settings, folder)}
        print(f"{found['machine']}\n{found['embed']:.4f} s of processor time to decode and embed an image, {MODEL}")
        sizes = []
        for rows in (given.rows // 10, given.rows):
            part = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            sizes.append(measure(rows, given.dim, given.seconds, settings, part))
            report(sizes[-1])
    if given.figures:
        Path(given.figures).write_text(json.dumps({**found, "sizes": list(map(asdict, sizes))}, indent=1) + "\n")


def measure(rows: int, dim: int, seconds: float, settings: Settings, folder: Path) -> Figures:
    """Measure everything for one number of rows."""
    figures, made = Figures(rows), VectorFolder(folder / "made")
    with MilvusServer(folder) as server:
        figures.memory["empty"] = server.used().memory

        def timed(name: str, work: Callable[..., object], *arguments: object) -> None:
            start, before, own = time.perf_counter(), server.used(), time.process_time()
            work(*arguments)
            seconds = time.perf_counter() - start
            figures.work[name] = Work(seconds, time.process_time() - own, server.used().since(before))
            print(f"  {name}: {seconds:.0f} s", flush=True)

        def loaded(index: Index) -> Collection:
            """Restart the server, so that its memory holds what it has loaded, but no leftovers of importing."""
            close(server.uri)
            server.kill()
            server.start()
            collection = Collection(server.uri, "vectors")
            collection.load()
            figures.latency[index.type] = latency(collection, dim)
            figures.memory[index.type] = server.used().memory
            return collection

        timed("make files", fill, made, rows, dim, model_of(settings).model_id)
        figures.files = size_of(folder / "made")
        collection = Collection(server.uri, "vectors")
        collection.create(dim, (), HNSW)
        timed("import by upsert", verified, made, collection)
        timed("index hnsw", collection.optimize, HNSW)  # builds what the import of few rows has left unbuilt
        collection = loaded(collection.index)
        searched_over_http(figures, server, settings, seconds)
        timed("export", verified, collection, VectorFolder(folder / "out"))
        collection.drop()
        collection = Collection(server.uri, "vectors")
        collection.create(dim, (), HNSW)
        timed("import by bulk load", verified, made, BulkLoad(collection, str(folder)))
        timed("index hnsw of bulk load", collection.optimize, HNSW)
        timed("index ivf_sq8", collection.optimize, Index("IVF_SQ8", "COSINE"))
        loaded(collection.index)
        close(server.uri)
    figures.client_peak = peak_mb()
    return figures


def searched_over_http(figures: Figures, server: MilvusServer, settings: Settings, seconds: float) -> None:
    """Let users search a page that runs in its own process."""
    options = ["--collection", "vectors", "--model", settings.model, "--weights", settings.weights]
    with serve(server.uri, *options) as page:
        page.search(max(USERS), seconds / 2)  # the page starts threads and allocates their buffers under load
        for users in USERS:
            before = used_by(page.pid), server.used()
            load = page.search(users, seconds)
            assert not load.errors
            after = used_by(page.pid), server.used()
            taken = [1000 * now.since(then) / load.answers for now, then in zip(after, before, strict=True)]
            figures.answers[str(users)] = {**load._asdict(), "page": taken[0], "server": taken[1]}
        figures.page = page.memory()


def report(figures: Figures) -> None:
    """Print the tables for one number of rows."""
    rate = figures.rows
    work = [
        [name, f"{one.seconds:,.0f}", f"{rate / one.seconds:,.0f}", f"{one.client:,.0f}", f"{one.server:,.0f}"]
        for name, one in figures.work.items()
    ]
    headers = [f"{figures.rows:,} rows", "s", "rows/s", "s of processor time here", "in the server"]
    print(f"\n{tabulate(work, headers, 'github', disable_numparse=True)}\n")
    names = ("p50", "p95", "p99", "rate", "page", "server")
    searches = [
        [f"HTTP, {users} at once", *(f"{one[name]:.1f}" for name in names)] for users, one in figures.answers.items()
    ]
    searches += [
        [f"Milvus alone, {index.lower()}", *(f"{value:.1f}" for value in one)] for index, one in figures.latency.items()
    ]
    headers = ["a search", "p50 ms", "p95 ms", "p99 ms", "a second", "ms of processor time: page", "server"]
    print(f"{tabulate(searches, headers, 'github', disable_numparse=True)}\n")
    ratio = figures.work["import by bulk load"].seconds / figures.work["import by upsert"].seconds
    memory = ", ".join(f"{name.lower()} {value:,.0f} MB" for name, value in figures.memory.items())
    print(
        f"memory of the server, by index: {memory}; of the page {figures.page:,.0f} MB; peak of the importing process "
        f"{figures.client_peak:,.0f} MB\nfiles {figures.files:,.0f} MB\n"
        f"bulk load takes {ratio:.2f} of the time of upserts\n",
        flush=True,
    )


def embedding(settings: Settings, folder: Path) -> float:
    """Return the CPU seconds that one photograph of 500×375 pixels takes from its file to its vector."""
    run_insert(folder_of(folder / "first", 16), settings, to=str(folder / "warm"))  # converts the model
    source, start = folder_of(folder / "photographs", PHOTOGRAPHS), time.process_time()
    summary = run_insert(source, settings, to=str(folder / "embedded"))
    return (time.process_time() - start) / summary.inserted


def folder_of(folder: Path, count: int) -> Path:
    """Fill a new folder with photographs, and return it."""
    folder.mkdir()
    photographs("", folder, count)
    return folder


def verified(source: Collection, target: Collection) -> None:
    """Copy all rows, and exit if the copy fails its verification."""
    summary = copy_collection(source, target)
    if not summary.verified:
        raise SystemExit(f"not verified: {summary}")


def fill(folder: VectorFolder, rows: int, dim: int, model_id: str) -> None:
    """Write random rows into a folder of vectors."""
    folder.create(dim, ())
    for chunk in chunks(rows, dim, model_id):
        folder.upsert(chunk)
    folder.flush()


def chunks(rows: int, dim: int, model_id: str, size: int = 10_000) -> Iterator[list[dict[str, Any]]]:
    """Yield rows of random unit vectors, `size` at a time."""
    random = np.random.default_rng(0)
    own = {"_mtime_ns": 0, "_size": 0, "_model": model_id, "_source": ""}
    for start in range(0, rows, size):
        vectors = random.standard_normal((min(size, rows - start), dim), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        yield [
            {
                "id": start + at,
                "path": f"/photos/{start + at}.jpg",
                "_hash": f"{start + at:032x}",
                "embedding": vector,
                **own,
            }
            for at, vector in enumerate(vectors)
        ]


def latency(collection: Collection, dim: int, count: int = 200) -> list[float]:
    """Return p50, p95 and p99, in milliseconds, of searches for ten hits, one after the other."""
    random, taken = np.random.default_rng(1), []
    for _ in range(count):
        vector = random.standard_normal((1, dim), dtype=np.float32)
        start = time.perf_counter()
        collection.search(vector / np.linalg.norm(vector), 10)
        taken.append(1000 * (time.perf_counter() - start))
    return [float(value) for value in np.percentile(taken, [50, 95, 99])]


def size_of(folder: Path) -> float:
    """Return the MB of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


if __name__ == "__main__":
    main()
