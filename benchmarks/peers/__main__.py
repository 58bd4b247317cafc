"""Do the same work through this project and its peers' code paths, in one run on one machine: `make bench-peers`.

Every peer runs in its own processes, with the same images and the same random ViT-B/32 weights, through its public
entry points. The result is a Markdown table. It lists a peer that cannot run here with the reason.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .driver import TOP_K, Job
from .images import add_bad, collect, subset
from .process import error_line, run_driver
from .table import Row, render

ROOT = Path(__file__).resolve().parents[2]
PEERS_VENV = ".venv-peers"
# Maximum seconds for a process, by mode: several times what the slowest peer needs on two idle cores.
LIMITS = {"index": 400.0, "search": 150.0, "bad": 120.0}
_SUBJECTS = (
    "a dog", "a red car", "two boats on a lake", "a man with a camera", "old coins", "a brick wall", "green grass",
    "a cup of coffee", "galaxies in space", "a cat asleep on a chair",
)  # fmt: skip
TEXTS = tuple(f"{kind} of {subject}" for kind in ("a photo", "a drawing", "a painting") for subject in _SUBJECTS)


@dataclass(frozen=True)
class Peer:
    """A row of the table. `one_a_call`: it embeds one image per call and gets few. `embeds`: false for search alone."""

    title: str
    driver: str
    venv: str = PEERS_VENV
    one_a_call: bool = False
    embeds: bool = True


PEERS = (
    Peer("this project", "this_project", ".venv"),
    Peer("Milvus quickstart loop", "milvus_quickstart", one_a_call=True),
    Peer("Towhee tutorial's pipelines", "towhee_tutorial", one_a_call=True),
    Peer("open_clip, DataLoader", "open_clip_loader"),
    Peer("sentence-transformers, encode", "sentence_transformers_encode"),
    Peer("infinity, its engine", "infinity_engine", ".venv-infinity"),
    Peer("FAISS flat, search alone", "faiss_flat", embeds=False),
    Peer("clip-retrieval, inference on a folder", "clip_retrieval_folder", ".venv-clip-retrieval"),
)


class Bench:
    """The shared folder, the deadline, and one method for each step."""

    def __init__(self, folder: Path, minutes: float) -> None:
        self.folder = folder
        self.end = time.time() + minutes * 60
        self.minutes = minutes
        self.good = 0

    def prepare(self, source: str, images: int, few: int) -> int:
        """Make the images and the weights, and return the number of images."""
        count = collect(source, self.folder / "all", images)
        subset(self.folder / "all", self.folder / "few", few)
        self.good = add_bad(self.folder / "all", self.folder / "bad")
        python = str(ROOT / PEERS_VENV / "bin" / "python")
        command = [python, "-W", "ignore", "-m", "benchmarks.peers.prepare", str(self.folder / "model")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"error: the weights could not be made: {error_line(done.stderr)}")
        return count

    def measure(self, peer: Peer) -> Row:
        """Run the processes of one peer, one after the other, and return its row."""
        row = Row(peer.title, good=self.good)
        python = ROOT / peer.venv / "bin" / "python"
        failed = ROOT / peer.venv / "failed"
        if failed.exists() or not python.exists():
            reason = failed.read_text().strip() if failed.exists() else f"there is no {peer.venv}: make bench-peers"
            row.not_run = f"It could not be installed: {reason}"
            return row
        for mode in ("index", "search", "bad") if peer.embeds else ("search",):
            left = self.end - time.time()
            if left < 5:
                row.findings[mode] = {"skipped": f"not started, the {self.minutes:g} minutes were over"}
                continue
            collection = f"{peer.driver}-bad" if mode == "bad" else peer.driver
            images = "bad" if mode == "bad" else "few" if peer.one_a_call else "all"
            folders = (str(self.folder / name) for name in (images, collection, "model"))
            job = Job(mode, *folders, texts=TEXTS)
            print(f"{peer.title} {mode} …", file=sys.stderr, flush=True)
            limit = min(LIMITS[mode], left)
            row.findings[mode] = run_driver(str(python), f"benchmarks.peers.drivers.{peer.driver}", job, limit)
        return row


def machine() -> str:
    """Return the processor, the number of cores that this process may use, and the Python version."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line[:10] == "model name"
        ]
        name = named[0] if named else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores, Python {platform.python_version()}"


def explain(images: int, few: int, source: str) -> str:
    """Explain the columns of the table."""
    kind = "photographs of the CSV" if source else "drawn images of 500×375"
    return f"""\
{machine()}; {images} {kind} ({few} for the rows that embed one image a call); all with
the same random ViT-B/32 weights. Peers compute in fp32, their default on a CPU. This project computes in bf16 if the
CPU has instructions for it, which is its default.

- images/s: from the first file to the last stored vector, without imports, loading the model and a first image. The
  rate of clip-retrieval is that of its command, with the two processes that it starts for its log.
- cold start: a new process, from its start to the hits of its first search in what an earlier process stored.
- peak memory: the larger one of indexing and searching; all processes together, shared pages counted once.
- query: from a text to its {TOP_K} hits among the images of the row, {len(TEXTS) - 1} different texts. FAISS gets
  vectors that open_clip stored, so its row is the search alone.
- bad image: a truncated JPEG and an HTML page named .jpg are among {{good}} good images; are the good ones stored?
- second run: the same again; it re-does the work if it takes more than half of the time."""


def main() -> None:
    """Print the table and what its columns mean."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.splitlines()[0])
    parser.add_argument("--csv", default="", help="a CSV with a column path; without it images are drawn")
    parser.add_argument("--images", type=int, default=200, help="images for every row (default 200)")
    parser.add_argument("--few", type=int, default=64, help="images for rows that embed one a call (default 64)")
    parser.add_argument("--minutes", type=float, default=30, help="the whole command ends after this (default 30)")
    parser.add_argument(
        "--only", nargs="*", default=[], help="only these drivers: " + ", ".join(p.driver for p in PEERS)
    )
    options = parser.parse_args()
    if options.csv and not Path(options.csv).is_file():
        raise SystemExit(f"error: there is no {options.csv}")
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as folder:
        bench = Bench(Path(folder), options.minutes)
        count = bench.prepare(os.path.abspath(options.csv) if options.csv else "", options.images, options.few)
        rows = [bench.measure(peer) for peer in PEERS if not options.only or peer.driver in options.only]
        print(render(rows))
        print("\n" + explain(count, min(options.few, count), options.csv).replace("{good}", str(bench.good)))


if __name__ == "__main__":
    main()
