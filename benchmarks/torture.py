"""Does any crash lose or duplicate an image? `make torture`, or `python -m benchmarks.torture --help`

Kill the insert command with `kill -9` at random moments, on Milvus Lite and on a real server, and change images between
the runs. Kill and restart the server during a run, and fill a disk. At the end, compare every row and vector with those
of a clean run on the same images in a fresh collection. The exit status is 1 if anything is lost, duplicated or
different.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from pipelines import Settings, run_insert
from pipelines.milvus import schema
from pipelines.milvus.collection import Collection
from pipelines.milvus.connection import close

from .memory import draw
from .milvus_server import ROOT, MilvusServer, find_program

KILLS_A_ROUND = 5
# Lowest cosine of equal embeddings: the last bits of half-precision kernels depend on the batch size.
SAME_COSINE = 0.9995
# The command without its check of the free space, so that Milvus Lite itself runs out of disk space.
UNGUARDED = "from pipelines.milvus import lite; lite.MIN_FREE_BYTES = 0; from pipelines.cli import main; main()"


@dataclass
class Verdict:
    """One kind of crash, and how its results differ from clean runs."""

    name: str
    events: int = 0
    effective: int = 0
    rows: int = 0
    lost: int = 0
    doubled: int = 0
    different: int = 0
    surplus: int = 0
    lowest_cosine: float = 1.0
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether any row is wrong."""
        return bool(self.lost or self.doubled or self.different or self.surplus)


class Bench:
    """The images, which change, and the command that is killed."""

    def __init__(self, folder: Path, images: int, seed: int) -> None:
        self.folder, self.photos = folder, folder / "photos"
        self.photos.mkdir()
        self._paths = draw(self.photos, images)
        self._random = random.Random(seed)
        self._serial = 0
        started = time.monotonic()
        self.run(str(folder / "time.db"), "time")
        whole = time.monotonic() - started
        started = time.monotonic()
        self.run(str(folder / "time.db"), "time")
        self._start_up = time.monotonic() - started
        self._window = max(1.0, whole - self._start_up)
        print(f"{images:,} images; a clean run takes {whole:.1f} s, of which {self._start_up:.1f} s to start up")

    def start(self, uri: str, collection: str, program: Sequence[str] = ("-m", "pipelines")) -> subprocess.Popen[str]:
        """Start an insert."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        options = ["--uri", uri, "--collection", collection, "--model", "builtin", "--json"]
        command = [sys.executable, "-W", "ignore", *program, "insert", str(self.photos), *options]
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def run(self, uri: str, collection: str) -> None:
        """Run an insert to its end."""
        process = self.start(uri, collection)
        out, err = process.communicate(timeout=400)
        if process.returncode != 0:
            raise RuntimeError(f"insert ended with {process.returncode}: {out[-300:]} {err[-1500:]}")

    def a_moment(self, share: float = 1.0) -> None:
        """Wait for a random moment in the first `share` of the time in which a run writes."""
        time.sleep(self._start_up * 0.7 + self._random.uniform(0, share) * self._window)

    def change_images(self) -> None:
        """Change the content of 1 % of the files, copy 1 %, and update the modification time of one."""
        for path in self._random.sample(self._paths, len(self._paths) // 100):
            self._serial += 1
            other = self._random.choice(self._paths)
            path.write_bytes(other.read_bytes() + b"%d" % self._serial)
        for at in self._random.sample(range(len(self._paths)), len(self._paths) // 100):
            self._serial += 1
            shutil.copyfile(self._paths[at], self.photos / f"copy{self._serial}.jpg")
        self._random.choice(self._paths).touch()

    def judge(self, verdict: Verdict, uri: str, collection: str) -> Verdict:
        """Compare a collection with a clean run on the current images, and add the differences to `verdict`."""
        clean = Settings(uri=str(self.folder / f"clean{self._serial}_{verdict.name.split()[0]}.db"), model="builtin")
        run_insert(self.photos, clean)
        expected, found = _rows(Collection(clean.uri, clean.collection)), _rows(Collection(uri, collection))
        close(clean.uri)
        shutil.rmtree(clean.uri)
        keys = {row[schema.ID] for row in found}
        wanted = {row[schema.ID]: row for row in expected}
        verdict.rows += len(wanted)
        verdict.lost += len(wanted.keys() - keys)
        verdict.surplus += len(keys - wanted.keys())
        verdict.doubled += max(len(found), Collection(uri, collection).count()) - len(keys)
        for row in found:
            if row[schema.ID] in wanted:
                cosine = _compare(row, wanted[row[schema.ID]])
                verdict.lowest_cosine = min(verdict.lowest_cosine, cosine)
                verdict.different += cosine < SAME_COSINE
        close(uri)
        return verdict


def _rows(collection: Collection) -> list[dict[str, object]]:
    names = [field["name"] for field in collection.describe()["fields"]]
    return [row for rows in collection.scan("", names) for row in rows]


def _compare(row: dict[str, object], wanted: dict[str, object]) -> float:
    """Return the cosine of the two embeddings, or -1 if any other field differs."""
    if any(row[name] != wanted[name] for name in wanted if name != schema.EMBEDDING):
        return -1.0
    return float(np.dot(np.asarray(row[schema.EMBEDDING]), np.asarray(wanted[schema.EMBEDDING])))


def kill_runs(bench: Bench, name: str, kills: int, fresh: Callable[[int], tuple[str, str]]) -> Verdict:
    """Kill inserts, five on each collection, then run one to its end."""
    verdict = Verdict(f"{name} killed runs")
    start = time.monotonic()
    for number in range(0, kills, KILLS_A_ROUND):
        uri, collection = fresh(number)
        for _ in range(min(KILLS_A_ROUND, kills - number)):
            process = bench.start(uri, collection)
            bench.a_moment(1 / 3)  # a third: each run continues the last, so that later kills hit later parts
            verdict.events += 1
            verdict.effective += process.poll() is None
            process.kill()
            process.communicate()
            bench.change_images()
        bench.run(uri, collection)
        bench.judge(verdict, uri, collection)
    verdict.seconds = time.monotonic() - start
    return verdict


def restart_server(bench: Bench, server: MilvusServer, restarts: int) -> Verdict:
    """Kill and restart the server during a run. The insert should wait for it and continue by itself."""
    verdict = Verdict("server restarts")
    start = time.monotonic()
    for number in range(restarts):
        collection = f"restart{number}"
        process = bench.start(server.uri, collection)
        bench.a_moment()
        verdict.effective += process.poll() is None
        server.kill()
        verdict.events += 1
        server.start()
        _, err = process.communicate(timeout=400)
        if process.returncode != 0:
            print(f"  the run ended with {process.returncode}: {err.strip()[-300:]}; running it again")
            bench.run(server.uri, collection)
        bench.judge(verdict, server.uri, collection)
    verdict.seconds = time.monotonic() - start
    return verdict


def fill_disk(bench: Bench, fulls: int) -> Verdict | str:
    """Fill the disk under a Milvus Lite file during a run, free it, and run again; or return why that is impossible."""
    verdict = Verdict("full disk")
    start = time.monotonic()
    mount = bench.folder / "disk"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(mount)], capture_output=True).returncode:
        return "a tmpfs cannot be mounted here (it takes root)"
    try:
        for number in range(fulls):
            uri = str(mount / f"full{number}.db")
            process = bench.start(uri, "images", ("-c", UNGUARDED) if number % 2 else ("-m", "pipelines"))
            bench.a_moment(0.5)
            _fill(mount)
            _, err = process.communicate(timeout=300)
            verdict.events += 1
            verdict.effective += process.returncode == 3
            print(f"  status {process.returncode}: {err.strip()[-300:]}")
            if "Traceback" in err:
                raise RuntimeError(err)
            (mount / "filler").unlink()
            bench.run(uri, "images")
            bench.judge(verdict, uri, "images")
            shutil.rmtree(uri)
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=False)
    verdict.seconds = time.monotonic() - start
    return verdict


def _fill(folder: Path) -> None:
    with open(folder / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            return


def main() -> int:
    """Print a row for each kind of crash."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture", description=__doc__.split("\n")[0])
    parser.add_argument("--lite", type=int, default=50, help="runs killed on Milvus Lite (default 50)")
    parser.add_argument("--server", type=int, default=20, help="runs killed on a Milvus server (default 20)")
    parser.add_argument("--restarts", type=int, default=5, help="server restarts in mid-run (default 5)")
    parser.add_argument("--full-disks", type=int, default=2, help="times the disk is filled (default 2)")
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10_000)
    options = parser.parse_args()
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    print(f"seed {options.seed}")
    verdicts: list[Verdict] = []
    skipped: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(folder, options.images, options.seed)
        if options.lite:
            verdicts.append(kill_runs(bench, "Lite", options.lite, lambda n: (str(folder / f"lite{n}.db"), "images")))
        if (options.server or options.restarts) and not find_program():
            skipped.append("server: no milvus-server here (make .venv-milvus/bin/milvus-server)")
        elif options.server or options.restarts:
            with MilvusServer(folder) as server:
                if options.server:
                    verdicts.append(kill_runs(bench, "server", options.server, lambda n: (server.uri, f"killed{n}")))
                if options.restarts:
                    verdicts.append(restart_server(bench, server, options.restarts))
        if options.full_disks:
            full = fill_disk(bench, options.full_disks)
            (skipped if isinstance(full, str) else verdicts).append(full)  # type: ignore[arg-type]
    headers = ["what", "times", "in mid-run", "rows", "lost", "doubled", "different", "surplus", "lowest cosine", "s"]
    table = [
        [v.name, v.events, v.effective, v.rows, v.lost, v.doubled, v.different, v.surplus,
         f"{v.lowest_cosine:.5f}", f"{v.seconds:.0f}"] for v in verdicts
    ]  # fmt: skip
    print(tabulate(table, headers=headers, tablefmt="github"))
    for reason in skipped:
        print(f"skipped: {reason}")
    return any(verdict.failed for verdict in verdicts)


if __name__ == "__main__":
    sys.exit(main())
