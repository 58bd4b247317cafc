"""Searches a second over HTTP: 1, 8 and 50 users at once, on 100,000 rows, beside the bare model and the bare Milvus.

    python -m benchmarks.serve [--seconds 30] [--rows 100000] [--users 1 8 50]

The page runs in one process and the users in another. Each user searches for a new text as soon as the last answer is
there. Rows are random unit vectors, because the time does not depend on their content.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

WORDS = (
    "dog,cat,horse,bird,fish,boat,car,bicycle,train,bridge,house,tree,flower,mountain,river,beach,snow,night,street,"
    "market,child,woman,man,crowd,window,door,table,chair,lamp,book,red,blue,green,yellow,white,black,old,new,big,"
    "small,running,sleeping,playing,standing,flying,wooden,stone,glass,paper"
)
ROWS_AT_ONCE = 5_000
HITS = 10
WARM_UP_SECONDS = 5.0
SMALL_PATHS = ("/healthz", "/readyz", "/api/info", "/thumb/0")


class Load(NamedTuple):
    """The seconds of each answer, and the number of wrong answers."""

    users: int
    rate: float
    latencies: list[float]
    errors: int


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--users", type=int, nargs="+", default=[1, 8, 50])
    parser.add_argument("--load", nargs=3, help=argparse.SUPPRESS)  # address, users, seconds: the users' process
    options = parser.parse_args()
    if options.load:
        address, users, seconds = options.load
        print(json.dumps(asyncio.run(_generate(address, int(users), float(seconds)))))
        return
    with tempfile.TemporaryDirectory(prefix="serve-") as folder:
        uri = str(Path(folder) / "serve.db")
        rate = _fill(uri, options.rows)
        print(
            f"{options.rows:,} rows, 256 dimensions, Milvus Lite, filled at {rate:,.0f} rows/s; {os.cpu_count()} cores"
        )
        _table_head()
        _bare(uri)
        with _server(uri) as (address, pid):
            _ask_once(address)
            first = _memory(pid)
            for path in SMALL_PATHS:
                _row(f"HTTP, {path}", _time_get(address, path))
            _run_load(address, max(options.users), WARM_UP_SECONDS)  # the threads and their buffers come with the crowd
            before = _memory(pid)
            for users in options.users:
                _row(f"HTTP, {users} user{'s' * (users > 1)}", _run_load(address, users, options.seconds))
            after = _memory(pid)
    print(
        f"\nmemory of the server: {before:,.0f} MB before, {after:,.0f} MB after ({after / before:.2f} ×); "
        f"{first:,.0f} MB before the first {max(options.users)} users together"
    )


def _fill(uri: str, rows: int) -> float:
    """Fill a collection, whose first row is an image beside it; return the rows a second."""
    from PIL import Image

    from pipelines.milvus.collection import Collection
    from pipelines.models.clip import load_model

    collection, generator = Collection(uri, "images"), np.random.default_rng(0)
    model_id, start = load_model("builtin").model_id, time.perf_counter()
    collection.create(256, ())
    image = Path(uri).with_suffix(".png").resolve()
    Image.effect_noise((1600, 1200), 60).convert("RGB").save(image)
    for first in range(0, rows, ROWS_AT_ONCE):
        vectors = generator.standard_normal((min(ROWS_AT_ONCE, rows - first), 256), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        collection.upsert(
            {"id": first + index, "path": str(image) if first + index == 0 else f"/photos/{first + index}.jpg",
             "_mtime_ns": 0, "_size": 0, "_key": "", "_device": -1, "_precision": "", "_schema_2": 0,
             "_hash": "", "_source": "", "_model": model_id, "embedding": vector}
            for index, vector in enumerate(vectors)
        )  # fmt: skip
    collection.optimize()
    return rows / (time.perf_counter() - start)


def _bare(uri: str) -> None:
    """Measure the two parts alone, one call at a time and as many at once as there are users."""
    from pipelines.milvus.collection import Collection
    from pipelines.milvus.connection import close
    from pipelines.models.clip import load_model

    model, collection = load_model("builtin"), Collection(uri, "images")
    for together in (1, 50):
        texts = [_text(random.Random(number)) for number in range(together)]
        _row(f"the model alone, {together} at once", _time(lambda texts=texts: model.embed_texts(texts), together))
    embeddings = model.embed_texts([_text(random.Random(number)) for number in range(50)])
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    for together in (1, 50):
        some = embeddings[:together]
        _row(f"Milvus alone, {together} at once", _time(lambda some=some: collection.search(some, HITS), together))
    close(uri)


def _time(call: Callable[[], object], together: int, seconds: float = 4.0) -> Load:
    call()
    latencies: list[float] = []
    while sum(latencies) < seconds:
        start = time.perf_counter()
        call()
        latencies.append(time.perf_counter() - start)
    return Load(1, together * len(latencies) / sum(latencies), latencies, 0)


@contextmanager
def _server(uri: str) -> Iterator[tuple[str, int]]:
    """Start the page on a free port, without a rate limit, because all users have the same address here."""
    environment = {**os.environ, "IMAGE_SEARCH_RATE_LIMIT": "0", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "app", "--uri", uri, "--port", "0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield line.split()[2], process.pid
    finally:
        process.terminate()
        process.wait(20)


def _time_get(address: str, path: str, seconds: float = 2.0) -> Load:
    """Ask for one address again and again over one connection."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(address).netloc)

    def get() -> None:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200, (path, answer.status)
        answer.read()

    return _time(get, 1, seconds)


def _ask_once(address: str) -> None:
    for number in range(200):  # loads the model, and lets memory settle
        with urllib.request.urlopen(f"{address}{_path(random.Random(number))}") as answer:
            assert answer.status == 200


def _memory(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def _run_load(address: str, users: int, seconds: float) -> Load:
    command = [sys.executable, "-m", "benchmarks.serve", "--load", address, str(users), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Load(*json.loads(done.stdout))


async def _generate(address: str, users: int, seconds: float) -> Load:
    host = urllib.parse.urlsplit(address)
    latencies: list[float] = []
    errors = 0
    start = time.perf_counter()
    end = start + seconds

    async def user(number: int) -> None:
        nonlocal errors
        chance = random.Random(number)
        reader, writer = await asyncio.open_connection(host.hostname, host.port)
        while time.perf_counter() < end:
            asked = time.perf_counter()
            writer.write(f"GET {_path(chance)} HTTP/1.1\r\nHost: {host.netloc}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            latencies.append(time.perf_counter() - asked)
            errors += not (head.startswith(b"HTTP/1.1 200") and body.count(b'"rank"') == HITS)
        writer.close()

    await asyncio.gather(*(user(number) for number in range(users)))
    return Load(users, len(latencies) / (time.perf_counter() - start), latencies, errors)


def _path(chance: random.Random) -> str:
    return f"/api/search?{urllib.parse.urlencode({'q': _text(chance), 'k': HITS})}"


def _text(chance: random.Random) -> str:
    return " ".join(chance.sample(WORDS.split(","), 5))


def _table_head() -> None:
    print(f"\n{'':26}{'answers/s':>11}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'errors':>8}")


def _row(name: str, load: Load) -> None:
    cuts = statistics.quantiles(load.latencies, n=100)
    times = "".join(f"{1000 * cuts[at - 1]:9.2f}" for at in (50, 95, 99))
    print(f"{name:26}{load.rate:11.1f}{times}{load.errors:8}", flush=True)


if __name__ == "__main__":
    main()
