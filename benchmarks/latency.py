"""How long does a query take, warm and cold? `python -m benchmarks.latency`

The models are ViT-B/32 with random weights and `builtin`. Warm: tokenise, embed and normalise in a Towhee pipeline,
compared with the tutorial's operators. Cold: `image-search search` and `serve` in new processes, and their steps.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serve.users import serve
from pipelines.settings import env_name

from .harness import MODEL, measure, photographs, random_weights, report, table, write_table

QUERIES = (
    "a dog", "a white dog on a green lawn", "two people riding bicycles along the sea at sunset", "coffee",
    "an old wooden boat", "close-up of a red flower with water drops on its petals", "a city street at night",
    "handwriting", "a child's birthday cake with seven candles, photographed from above", "mountains under snow",
)  # fmt: skip
REPEATS = {"ours": 20, "tutorial": 4, "builtin": 20}
COLD_RUNS = 3


def main() -> None:
    """Print the warm latencies, the cold start, and its parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--subject", help=argparse.SUPPRESS)
    parser.add_argument("--arguments", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.subject:
        report(_run(options.subject, **json.loads(options.arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        weights = str(random_weights(Path(folder)))
        _warm(weights, options.device)
        print()
        _cold(Path(folder), weights, options.device)


def _warm(weights: str, device: str) -> None:
    names = {"tutorial": "the tutorial's operators", "ours": "this program", "builtin": "this program, builtin"}
    results = {name: measure("benchmarks.latency", name, weights=weights, device=device) for name in names}
    slow = results["tutorial"]["p50"]
    rows = [
        [names[name], *(f"{result[p]:.1f}" for p in ("p50", "p95", "p99")),
         f"{slow / result['p50']:.1f} ×" if name != "builtin" else "", f"{result['peak_mb']:,.0f}"]
        for name, result in results.items()
    ]  # fmt: skip
    table(rows, ["a text query, ready to search", "p50 (ms)", "p95 (ms)", "p99 (ms)", "faster", "peak memory (MB)"])


def _cold(folder: Path, weights: str, device: str) -> None:
    os.environ[env_name("cache")] = str(folder / "cache")  # the usual cache holds towers that the warm part converted
    images = write_table(photographs("", folder, 20), folder / "cold.csv")
    rows, parts, pages, page_parts = [], {}, [], {}
    for model, path in (("builtin", ""), (MODEL, weights)):
        options = ["--uri", str(folder / f"{model}.db"), "--model", model, "--weights", path, "--device", device]
        _program("insert", str(images), *options)
        first = _program("search", "a cat", *options)
        runs = [_program("search", "a cat", *options) for _ in range(COLD_RUNS)]
        wall, cpu = (float(np.median(values)) for values in zip(*runs, strict=True))
        rows.append([model, f"{wall:.2f}", f"{cpu:.2f}", f"{first[0]:.2f}"])
        uri = str(folder / f"{model}.db")
        where = {"uri": uri, "weights": path, "device": device}
        parts[model] = measure("benchmarks.start", "search", **where, started=time.time())
        pages.append([model, f"{np.median([_first_answer(uri, path, device) for _ in range(COLD_RUNS)]):.2f}"])
        page_parts[model] = measure("benchmarks.start", "serve", **where, started=time.time())
    table(rows, ["`search`, new process, to its end", "seconds", "CPU seconds", "the very first after indexing"])
    print()
    _print_parts(parts)
    print()
    table(pages, ["`serve`, new process, to the answer of its first search", "seconds"])
    print()
    _print_parts(page_parts)


def _print_parts(parts: dict[str, dict[str, float]]) -> None:
    names = next(iter(parts.values()))
    table([[name, *(f"{parts[model][name]:.2f}" for model in parts)] for name in names], ["where (s)", *parts])


def _first_answer(uri: str, weights: str, device: str) -> float:
    """Start the page, and return the seconds until it has answered a search."""
    with serve(uri, "--weights", weights, "--device", device) as page:
        return page.first_answer


def _program(*arguments: str) -> tuple[float, float]:
    """Run `python -m pipelines …`, and return its wall-clock and CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pipelines", *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


def _run(subject: str, weights: str, device: str) -> dict[str, Any]:
    if subject == "tutorial":
        from .baselines import text_pipeline

        embed = text_pipeline(weights, device)
    else:
        embed = _our_pipeline("builtin", "", device) if subject == "builtin" else _our_pipeline(MODEL, weights, device)
    embed("warm up")
    times = []
    for query in QUERIES * REPEATS[subject]:
        start = time.perf_counter()
        embed(query).get()
        times.append(1e3 * (time.perf_counter() - start))
    return {f"p{p}": float(np.percentile(times, p)) for p in (50, 95, 99)}


def _our_pipeline(model: str, weights: str, device: str) -> Any:
    from pipelines import ops, pipe

    return (
        pipe.input("text")
        .map("text", "vec", ops.image_text_embedding.clip(
            model_name=model, modality="text", device=device, weights=weights))
        .map("vec", "vec", ops.towhee.np_normalize())
        .output("vec")
    )  # fmt: skip


if __name__ == "__main__":
    main()
