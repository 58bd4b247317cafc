"""Pages that run for twenty minutes, on a server and on Milvus Lite, while everything around them changes.

They are searched all the time. Meanwhile images are inserted, another model embeds all of them, the collection is
dropped and made anew, a training run is killed, and the server is killed and started again twice.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from benchmarks.milvus_server import MilvusServer
from tests.support.milvus_server import require_milvus
from tests.support.models import write_turned_builtin
from tests.support.photos import draw_images, write_csv
from tests.support.program import program_env

SECONDS = float(os.environ.get("SOAK_SECONDS", "1200"))
TEXTS = ["a red square", "blue and green", "something dark -green", "a photograph of a dog", "id:3", "year > 2020"]

# The page, and a thread that changes the collection on command: only one process can open a Milvus Lite file.
PAGE = """
import json, os, sys, threading, traceback
from app.server import serve
from pipelines import Settings, run_insert
from pipelines.milvus.collection import Collection
settings = Settings(uri=sys.argv[1], port=0, rate_limit=0)
def change(source, model, reembed):
    if source:
        run_insert(source, Settings(uri=settings.uri, model=model), reembed=reembed, rejects="/dev/null")
    else:
        Collection(settings.uri, settings.collection).drop()
def obey():
    try:
        for line in sys.stdin:
            change(*json.loads(line))
            print("done", flush=True)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
threading.Thread(target=obey, daemon=True).start()
serve(settings)
"""


class Site:
    """A page in a separate process, the answers that it gave, and the memory and descriptors that it used."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri, self.errors = uri, folder / "errors.txt"
        self.answers: Counter[tuple[str, int]] = Counter()
        self.samples: list[tuple[float, int, int]] = []  # seconds since the start, KB, descriptors
        with open(self.errors, "w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", PAGE, uri], cwd=folder, env=program_env(), text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split()[2]
        self.process.stdout.readline()

    def tell(self, source: Path | None = None, model: str = "", reembed: bool = False) -> None:
        """Insert a source in the page's own process, or drop the collection; wait until it is done."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([source and str(source), model, reembed]) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n", self.errors.read_text()[-2000:]

    def ask(self, path: str) -> tuple[int, bytes]:
        """Return status and body of an answer."""
        try:
            with urllib.request.urlopen(self.address + path, timeout=120) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def search(self, text: str) -> list[tuple[Any, float]]:
        """Return id and score of the hits."""
        status, body = self.ask(f"/api/search?k=12&q={urllib.parse.quote(text)}")
        assert status == 200, body
        return [(hit["id"], round(hit["score"], 4)) for hit in json.loads(body)["hits"]]

    def use(self, stop: threading.Event, seed: int) -> None:
        """Send random requests, one after the other."""
        chance = random.Random(seed)
        while not stop.wait(0.2):
            text, number = urllib.parse.quote(chance.choice(TEXTS)), chance.randrange(60)
            path = chance.choice(
                [f"/api/search?q={text}", f"/api/similar/{number}", f"/thumb/{number}", "/api/info", "/readyz", "/"]
            )
            self.answers[path.split("?")[0].rstrip("0123456789"), self.ask(path)[0]] += 1

    def measure(self, stop: threading.Event, start: float) -> None:
        """Note memory and descriptors every second."""
        own = Path(f"/proc/{self.process.pid}")
        while not stop.wait(1):
            memory = int((own / "status").read_text().split("VmRSS:")[1].split()[0])
            self.samples.append((time.monotonic() - start, memory, len(os.listdir(own / "fd"))))

    def between(self, first: float, last: float) -> tuple[float, float]:
        """Return the medians of memory in MB and of descriptors between two times."""
        part = [sample for sample in self.samples if first <= sample[0] <= last]
        return median(sample[1] for sample in part) / 1024, median(sample[2] for sample in part)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MilvusServer]:
    require_milvus()
    with MilvusServer(tmp_path) as server:
        yield server


@pytest.fixture
def tables(tmp_path: Path) -> list[Path]:
    """Return CSVs of the first 20, 40 and 60 images."""
    paths = draw_images(tmp_path / "photos", 60)
    rows = [(number, path, f"label{number % 3}", 2000 + number) for number, path in enumerate(paths)]
    header = ["id", "path", "label", "year"]
    return [write_csv(tmp_path / f"{count}.csv", header, rows[:count]) for count in (20, 40, 60)]


@pytest.fixture
def sites(server: MilvusServer, tables: list[Path], tmp_path: Path) -> Iterator[list[Site]]:
    """Start a page on the server and one on Milvus Lite, each with the first images."""
    sites = []
    for name, uri in (("server", server.uri), ("lite", str(tmp_path / "lite.db"))):
        (tmp_path / name).mkdir()
        image_search("insert", tables[0], "--uri", uri, "--model", "builtin")
        sites.append(Site(uri, tmp_path / name))
    yield sites
    for site in sites:
        site.process.kill()
        site.process.communicate()


def image_search(*arguments: object) -> str:
    """Return what the program prints."""
    command = [sys.executable, "-W", "ignore", "-m", "pipelines", *map(str, arguments)]
    done = subprocess.run(command, env=program_env(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def killed_training(table: Path, out: Path) -> None:
    """Start a training run, and kill it while it trains."""
    command = [sys.executable, "-m", "pipelines", "train", str(table), "--model", "builtin", "--epochs", "1000"]
    with subprocess.Popen(
        [*command, "--out", str(out)], env=program_env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as training:
        time.sleep(max(10, 0.05 * SECONDS))
        assert training.poll() is None
        training.kill()


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(int(SECONDS) + 900)
@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="reads memory and descriptors from Linux's /proc")
def test_pages_outlive_what_happens_beside_them(
    sites: list[Site], server: MilvusServer, tables: list[Path], tmp_path: Path
) -> None:
    few, more, all_of_them = tables
    turned = write_turned_builtin(tmp_path / "turned")

    def restart() -> None:
        server.kill()
        time.sleep(0.02 * SECONDS)
        server.start()

    def everywhere(*change: Any) -> Callable[[], object]:
        def tell() -> None:
            for site in sites:
                site.tell(*change)

        return tell

    def by_another_process(table: Path, model: str) -> Callable[[], object]:
        return lambda: image_search("insert", table, "--uri", server.uri, "--model", model)

    calm: list[tuple[float, float]] = []

    def rest() -> None:
        begin = time.monotonic() - start
        time.sleep(0.08 * SECONDS)
        calm.append((begin, time.monotonic() - start))

    happens: list[tuple[float, Callable[[], object]]] = [
        (0.10, everywhere(more, "builtin")),
        (0.15, lambda: killed_training(few, tmp_path / "trained")), (0.25, restart),
        (0.40, everywhere(more, turned, True)), (0.50, by_another_process(all_of_them, turned)),
        (0.51, rest), (0.60, everywhere(None)), (0.65, everywhere(more, turned)), (0.75, restart),
        (0.85, by_another_process(all_of_them, turned)), (0.86, everywhere(all_of_them, turned)), (0.90, rest),
    ]  # fmt: skip
    stop, start = threading.Event(), time.monotonic()
    threads = [threading.Thread(target=site.use, args=(stop, seed)) for site in sites for seed in range(2)]
    threads += [threading.Thread(target=site.measure, args=(stop, start)) for site in sites]
    for thread in threads:
        thread.start()
    try:
        for share, happen in happens:
            time.sleep(max(0.0, start + share * SECONDS - time.monotonic()))
            happen()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for site in sites:
        assert {status for _, status in site.answers} <= {200, 404, 503}, site.answers
        assert site.ask("/readyz")[0] == 200
        answers = [site.search(text) for text in TEXTS]
        assert len(site.search("red")) == 12
        middle, end = (site.between(*part) for part in calm)
        print(f"{site.uri}: {middle} → {end} MB and descriptors; {dict(sorted(site.answers.items()))}")
        site.process.kill()
        site.process.wait()
        for text, hits in zip(TEXTS, answers, strict=True):
            told = json.loads(image_search("search", text, "--uri", site.uri, "-k", 12, "--json"))
            assert [(hit["id"], round(hit["score"], 4)) for hit in told] == hits
        assert end[0] < 1.15 * middle[0] + 20, "memory grows"
        assert end[1] < middle[1] + 10, "descriptors are left open"
        assert "Traceback" not in site.errors.read_text()
