"""What every driver does, whichever peer it drives: index, index again, search, meet broken images.

A driver is run as `python -m benchmarks.peers.drivers.NAME JOB.json` by the environment of its peer, so nothing but
the standard library may be imported here. It prints one line of JSON per finding.
"""

from __future__ import annotations

import csv
import json
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

EVENT = "peer-finding: "
TOP_K = 10


@dataclass(frozen=True)
class Job:
    """What to do: `mode` is index, search or bad; the folder holds the images and their CSV (id,path).

    store: a folder of the peer's own, for whatever it stores.
    model: the folder of `prepare`: weights.pt (OpenAI's names), hf/ (transformers' form of the same).
    """

    mode: str
    images: str
    collection: str
    model: str
    texts: tuple[str, ...] = ()

    @property
    def paths(self) -> list[str]:
        """The images' files, in the CSV's order."""
        with open(self.table, newline="") as file:
            return [row["path"] for row in csv.DictReader(file)]

    @property
    def table(self) -> str:
        """The CSV with the images' paths."""
        return str(Path(self.images, "images.csv"))

    @property
    def weights(self) -> str:
        """A state dict under OpenAI's names."""
        return str(Path(self.model, "weights.pt"))


class Peer(Protocol):
    """What a driver provides."""

    def load(self, job: Job) -> None:
        """Loads the model."""

    def warm(self, path: str) -> None:
        """Embeds one image and stores nothing, so that the first call's set-up is not in the rate."""

    def index(self, paths: Sequence[str]) -> None:
        """Reads, embeds and stores the images the way the peer's users do; called again for a second run."""

    def stored(self) -> int:
        """Vectors stored."""

    def finish(self) -> None:
        """What a search needs on top, an index for example; not part of the rate."""

    def open(self) -> None:
        """Makes ready to search what another process stored."""

    def search(self, text: str) -> Sequence[Any]:
        """The ten nearest."""


def emit(**findings: Any) -> None:
    """Prints one finding."""
    print(EVENT + json.dumps(findings), flush=True)


def drive(peer: Peer, package: str = "") -> None:
    """Does the job named on the command line. The package is the one whose version the table names."""
    warnings.simplefilter("ignore")
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    if package:
        emit(version=version(package))
    peer.load(job)
    {"index": _index, "search": _search, "bad": _bad}[job.mode](peer, job)


def _index(peer: Peer, job: Job) -> None:
    paths = job.paths
    peer.warm(paths[0])
    start = time.perf_counter()
    peer.index(paths)
    first = time.perf_counter() - start
    stored = peer.stored()
    emit(images=len(paths), stored=stored, seconds=first)
    start = time.perf_counter()
    peer.index(paths)
    emit(seconds_again=time.perf_counter() - start, stored_again=peer.stored())
    peer.finish()


def _search(peer: Peer, job: Job) -> None:
    peer.open()
    hits = len(peer.search(job.texts[0]))
    emit(first_result=time.time(), hits=hits)
    latencies = []
    for text in job.texts[1:]:
        start = time.perf_counter()
        peer.search(text)
        latencies.append(time.perf_counter() - start)
    emit(latencies=latencies)


def _bad(peer: Peer, job: Job) -> None:
    paths = job.paths
    peer.warm(paths[0])
    try:
        peer.index(paths)
    except Exception as error:
        # A worker process's error comes with its traceback as text: its last line is the error itself.
        lines = str(error).strip().splitlines() or [""]
        text = lines[-1] if "Original Traceback" in str(error) else f"{type(error).__name__}: {lines[0]}"
        emit(bad_error=text.strip()[:200])
    try:
        emit(bad_stored=peer.stored())
    except Exception:  # nothing was made that could be counted
        emit(bad_stored=0)
