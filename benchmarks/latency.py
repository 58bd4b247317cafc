"""How long does a query take, warm and from nothing? `python -m benchmarks.latency`

The model is ViT-B/32 with random weights. Warm: tokenise, embed and normalise in a Towhee pipeline, beside the
operators of the tutorial. Cold: `image-search search` in a new process, and where its time goes.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

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
    os.environ[env_name("cache")] = str(folder / "cache")  # the warm part has left converted towers in the usual one
    images = write_table(photographs("", folder, 20), folder / "cold.csv")
    rows, parts = [], {}
    for model, path in (("builtin", ""), (MODEL, weights)):
        options = ["--uri", str(folder / f"{model}.db"), "--model", model, "--weights", path, "--device", device]
        _program("insert", str(images), *options)
        first = _program("search", "a cat", *options)
        runs = [_program("search", "a cat", *options) for _ in range(COLD_RUNS)]
        wall, cpu = (float(np.median(values)) for values in zip(*runs, strict=True))
        rows.append([model, f"{wall:.2f}", f"{cpu:.2f}", f"{first[0]:.2f}"])
        parts[model] = measure(
            "benchmarks.latency", "parts", uri=str(folder / f"{model}.db"), weights=path, device=device
        )["parts"]
    table(rows, ["`search`, new process, to its end", "seconds", "CPU seconds", "the very first after indexing"])
    print()
    names = list(parts["builtin"])
    table([[name, *(f"{parts[model][name]:.2f}" for model in parts)] for name in names], ["where (s)", *parts])


def _program(*arguments: str) -> tuple[float, float]:
    """Run `python -m pipelines …`; returns wall-clock and CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pipelines", *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


def _run(subject: str, weights: str, device: str, uri: str = "") -> dict[str, Any]:
    if subject == "parts":
        return {"parts": _parts(uri, weights, device)}
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


def _parts(uri: str, weights: str, device: str) -> dict[str, float]:
    """What a search does, step by step in the order of the program, in this new process."""
    seconds: dict[str, float] = {}

    def timed(name: str, function: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        value = function()
        seconds[name] = time.perf_counter() - start
        return value

    def imports(*names: str) -> Callable[[], None]:
        return lambda: [__import__(name) for name in names] and None

    timed("import the command line", imports("pipelines.cli"))
    timed("import pymilvus", imports("pymilvus"))
    from pipelines import Searcher, Settings
    from pipelines.engine import load_towhee
    from pipelines.milvus.collection import Collection
    from pipelines.models.clip import load_model
    from pipelines.models.model_id import name_of
    from pipelines.models.tokenizer import tokenize

    timed("import Towhee", load_towhee)
    collection = Collection(uri, "images", "")
    name = name_of(timed("open the collection", collection.model))
    timed("import the runtime", imports("openvino" if device in ("auto", "cpu") else "torch"))
    model = timed("weights' fingerprint, runtime", lambda: load_model(name, weights, device))
    timed("read the vocabulary", lambda: tokenize(["a"]))
    timed("load and check the text tower", lambda: model.embed_texts(["a cat"]))
    searcher = Searcher(Settings(uri=uri, model=name, weights=weights, device=device))
    timed("first search", lambda: searcher.by_text("a cat"))
    os.sync()
    return seconds


if __name__ == "__main__":
    main()
