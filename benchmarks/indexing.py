"""Do searches slow down while the page indexes? `python -m benchmarks.indexing [--csv CSV] [--model MODEL]`

One user searches a page over HTTP, each time for a new text: first while the page is idle, then while it indexes a
folder of photographs with its default number of threads. The second median should be at most twice the first, or 60 ms
if that is more. ViT-B/32 has random weights.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from pipelines import Settings, run_insert
from pipelines.milvus.connection import close

from .harness import MODEL, machine, photographs, random_weights, table, write_table
from .serve.users import Load, serve

FIRST = 100  # number of images in the collection before the folder is indexed
LEAST_MS = 60


def main() -> None:
    """Print both medians, their ratio, and the rate of indexing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", default="", help="a CSV of photographs; without one they are made here")
    parser.add_argument("--model", default="builtin", choices=["builtin", MODEL])
    parser.add_argument("--images", type=int, default=3_000)
    parser.add_argument("--seconds", type=float, default=15, help="of searches, each time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = distinct(photographs(options.csv, folder, options.images), folder / "photographs", options.images)
        weights = str(random_weights(folder)) if options.model == MODEL else ""
        settings = Settings(uri=str(folder / "page.db"), model=options.model, weights=weights)
        run_insert(write_table(sorted(source.iterdir())[:FIRST], folder / "first.csv"), settings)
        close(settings.uri)
        idle, busy, rate = measure(settings, source, options.seconds)
    print(f"{machine()}\n\n{options.model}\n")
    rows = [
        [name, f"{load.p50:.1f}", f"{load.p95:.1f}", f"{load.answers:,}"]
        for name, load in (("nothing", idle), ("indexing", busy))
    ]
    table(rows, ["beside one user", "p50 ms", "p95 ms", "answers"])
    print(
        f"\n{busy.p50 / idle.p50:.2f} × the idle median; the limit is {max(2 * idle.p50, LEAST_MS):.0f} ms; "
        f"{rate:.0f} images/s indexed meanwhile"
    )


def distinct(paths: list[Path], folder: Path, count: int) -> Path:
    """Write `count` distinct copies of photographs, because an identical copy would not be embedded again."""
    folder.mkdir()
    for number in range(count):
        content = paths[number % len(paths)].read_bytes()
        (folder / f"{number:06}.jpg").write_bytes(content + number.to_bytes(4, "big"))
    return folder


def measure(settings: Settings, source: Path, seconds: float) -> tuple[Load, Load, float]:
    """Return the loads of searching before and during indexing, and the images per second of the indexing."""
    with serve(settings.uri, *(["--weights", settings.weights] if settings.weights else [])) as page:
        page.search(1, 3)
        idle = page.search(1, seconds)
        ask(page.address, {"source": str(source)})
        while (before := ask(page.address)["rows"]) <= FIRST:  # the job loads the model first
            time.sleep(0.1)
        start = time.perf_counter()
        busy = page.search(1, seconds)
        after, taken = ask(page.address), time.perf_counter() - start
        if after["state"] != "indexing":
            raise SystemExit(f"the folder was indexed before the searches ended ({after['state']}): give more --images")
    return idle, busy, (after["rows"] - before) / taken


def ask(address: str, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the progress of the page's only indexing job; `wanted` starts that job."""
    body = json.dumps(wanted).encode() if wanted else None
    request = urllib.request.Request(f"{address}/api/indexing", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        job: dict[str, Any] = json.load(answer)["jobs"][0]
    return job


if __name__ == "__main__":
    main()
