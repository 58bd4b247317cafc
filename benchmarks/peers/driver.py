"""The steps of every driver: index, index again, search, and index broken images.

The environment of a peer runs its driver as `python -m benchmarks.peers.drivers.NAME JOB.json`, so this module may
import only the standard library. A driver prints one line of JSON for each finding.
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
    """A task: `mode` is index, search or bad; the folder `images` holds the images and their CSV (id,path).

    collection: the folder in which the peer stores everything.
    model: the folder that `prepare` made: weights.pt (OpenAI's names), hf/ (the same in transformers' format).
    """

    mode: str
    images: str
    collection: str
    model: str
    texts: tuple[str, ...] = ()

    @property
    def paths(self) -> list[str]:
        """The image files, in the order of the CSV."""
        with open(self.table, newline="") as file:
            return [row["path"] for row in csv.DictReader(file)]

    @property
    def table(self) -> str:
        """The path of the CSV that lists the images."""
        return str(Path(self.images, "images.csv"))

    @property
    def weights(self) -> str:
        """The path of a state dict with OpenAI's names."""
        return str(Path(self.model, "weights.pt"))


class Peer(Protocol):
    """The methods of a driver."""

    def load(self, job: Job) -> None:
        """Load the model."""

    def warm(self, path: str) -> None:
        """Embed one image and store nothing, so that the rate does not include the set-up of the first call."""

    def index(self, paths: Sequence[str]) -> None:
        """Read, embed and store the images as the peer's users do. A second call measures a second run."""

    def stored(self) -> int:
        """Return the number of stored vectors."""

    def finish(self) -> None:
        """Build anything else that a search needs, such as an index; this is not part of the rate."""

    def open(self) -> None:
        """Prepare to search what another process stored."""

    def search(self, text: str) -> Sequence[Any]:
        """Return the TOP_K nearest images."""


def emit(**findings: Any) -> None:
    """Print one finding."""
    print(EVENT + json.dumps(findings), flush=True)


def drive(peer: Peer, package: str = "") -> None:
    """Run the job named on the command line. The table shows the version of the package."""
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
        # The error of a worker process holds its traceback as text, whose last line is the error itself.
        lines = str(error).strip().splitlines() or [""]
        text = lines[-1] if "Original Traceback" in str(error) else f"{type(error).__name__}: {lines[0]}"
        emit(bad_error=text.strip()[:200])
    try:
        emit(bad_stored=peer.stored())
    except Exception:  # the peer stored nothing that could be counted
        emit(bad_stored=0)
