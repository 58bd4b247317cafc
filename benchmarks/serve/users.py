"""The page in one process, and users in another, who search over HTTP."""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import random
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.serve.rows import HITS, text


class Load(NamedTuple):
    """The answers per second, their percentiles in milliseconds, and the numbers of all and of wrong answers."""

    rate: float
    p50: float
    p95: float
    p99: float
    answers: int
    errors: int


class Page(NamedTuple):
    """A running page, and the seconds from its start to its first answer. The process leads its own process group."""

    address: str
    pid: int
    first_answer: float

    def memory(self) -> float:
        """Return the resident memory in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def search(self, users: int, seconds: float, **options: str | int) -> Load:
        """Let users search. Each searches for a new text as soon as the last answer has arrived."""
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.serve.users", self.address, str(users)]
        command += [str(seconds), urllib.parse.urlencode(options)]
        return Load(**json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))

    def get(self, path: str, seconds: float = 2.0) -> float:
        """Request a path repeatedly over one connection, and return the median in milliseconds."""
        connection, taken = http.client.HTTPConnection(urllib.parse.urlsplit(self.address).netloc), list[float]()
        while sum(taken) < seconds:
            start = time.perf_counter()
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            taken.append(time.perf_counter() - start)
            assert answer.status == 200, (path, answer.status)
        return 1000 * float(np.median(taken))


@contextmanager
def serve(uri: str, *options: str) -> Iterator[Page]:
    """Run the page on a free port, without a rate limit, because all users share one address here."""
    environment = {**os.environ, "IMAGE_SEARCH_RATE_LIMIT": "0", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "app", "--uri", uri, "--port", "0", *options]
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[2]
        with urllib.request.urlopen(f"{address}{_path(random.Random(-1), '')}") as answer:
            assert answer.read().count(b'"rank"') == HITS
        yield Page(address, process.pid, time.perf_counter() - start)
    finally:
        process.terminate()
        process.wait(20)


async def _users(address: str, users: int, seconds: float, options: str) -> Load:
    host, taken, errors = urllib.parse.urlsplit(address), list[float](), 0
    end = time.perf_counter() + seconds

    async def user(_: int) -> None:
        nonlocal errors
        chance = random.Random()  # the page caches the embeddings of texts, so no run may repeat the texts of another
        reader, writer = await asyncio.open_connection(host.hostname, host.port)
        while time.perf_counter() < end:
            asked = time.perf_counter()
            writer.write(f"GET {_path(chance, options)} HTTP/1.1\r\nHost: {host.netloc}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
            taken.append(time.perf_counter() - asked)
            if not (head.startswith(b"HTTP/1.1 200") and body.count(b'"rank"') == HITS):
                errors += 1
                print(head.decode(), body.decode(), file=sys.stderr) if errors == 1 else None
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*map(user, range(users)))
    cuts = (float(value) for value in 1000 * np.percentile(taken, [50, 95, 99]))
    return Load(len(taken) / (time.perf_counter() - start), *cuts, len(taken), errors)


def _path(chance: random.Random, options: str) -> str:
    return f"/api/search?{urllib.parse.urlencode({'q': text(chance), 'k': HITS})}&{options}"


def main() -> None:
    """Run the users, and print their load as JSON."""
    parser = argparse.ArgumentParser()
    for name, kind in (("address", str), ("users", int), ("seconds", float), ("options", str)):
        parser.add_argument(name, type=kind)
    given = parser.parse_args()
    load = asyncio.run(_users(given.address, given.users, given.seconds, given.options))
    print(json.dumps(load._asdict()))


if __name__ == "__main__":
    main()
