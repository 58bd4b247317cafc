"""How many images per second, from files to a searchable collection? `python -m benchmarks.throughput [--csv CSV]`

Compare five ways, each in a new process, with a ViT-B/32 of random weights and Milvus Lite: the loop of the Milvus
quickstart, the Towhee tutorial, clip-retrieval's way, this program, and the model alone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .harness import MODEL, machine, measure, photographs, random_weights, report, table, write_table

if TYPE_CHECKING:
    import torch

NAMES = {
    "quickstart": "Milvus quickstart: one image a call, PIL, fp32",
    "tutorial": "Towhee tutorial: one row at a time, fp32",
    "data loader": "batches of 64, DataLoader, PIL, fp32 (clip-retrieval)",
    "ours": "this program",
    "model": "the model alone (the ceiling)",
}
# The slow ways get fewer images, which does not change their rate.
COUNTS = {"quickstart": 64, "tutorial": 64, "data loader": 192}
BATCHES = (1, 8, 32, 64, 128)
# One model for each family and cost. `xlm-roberta-base-ViT-B-32` is left out: it has the image tower of MODEL.
OTHERS = (
    "siglip2-base-patch32-256", "siglip2-base-patch16-224", "chinese-clip-vit-base-patch16", "PE-Core-S-16-384",
)  # fmt: skip


def main() -> None:
    """Print one table with the ratios, and one with the rates of the models by batch size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", default="", help="a CSV of photographs; without one they are made here")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--subject", help=argparse.SUPPRESS)
    parser.add_argument("--arguments", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.subject:
        report(_run(options.subject, **json.loads(options.arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        _report(Path(folder), options)


def _report(folder: Path, options: argparse.Namespace) -> None:
    weights = str(random_weights(folder))
    paths = [str(path) for path in photographs(options.csv, folder, options.images)]
    common = {"weights": weights, "device": options.device, "folder": str(folder)}
    measure("benchmarks.throughput", "warm up", **common)  # converts the model, once per machine
    results = {
        subject: measure("benchmarks.throughput", subject, paths=paths[: COUNTS.get(subject, len(paths))], **common)
        for subject in ("quickstart", "tutorial", "data loader", "ours", "model")
    }
    print(f"{machine()}\n\nmodel {MODEL}, random weights; ours by {results['ours']['runtime']}\n")
    _report_ways(results)
    if "on cpu" in results["ours"]["runtime"]:
        if find_spec("nncf"):
            _report_int8(measure("benchmarks.throughput", "ours by int8", paths=paths, **common)["rate"], results)
        decoding = measure("benchmarks.throughput", "decode", paths=paths, **common)["rate"]
        _report_sharing(results["ours"]["rate"], results["model"]["rate"], decoding)
    _report_bounds(measure("benchmarks.throughput", "peak", **common))
    _report_batches(common)


def _report_ways(results: dict[str, dict[str, Any]]) -> None:
    """Compare the program with the other ways, and with its model alone."""
    rate, ceiling = results["ours"]["rate"], results["model"]["rate"]
    rows = [
        [
            NAMES[subject], f"{result['images']:,}", f"{result['rate']:.1f}",
            "" if subject == "ours" else f"{rate / result['rate']:.2f} ×", f"{result['peak_mb']:,.0f}", result["limit"],
        ]
        for subject, result in results.items()
    ]  # fmt: skip
    table(rows, ["way", "images", "images/s", "this program is", "peak memory (MB)", "where the time goes"])
    print(f"\nthis program reaches {rate / ceiling:.0%} of what the model alone reaches")


def _report_int8(rate: float, results: dict[str, dict[str, Any]]) -> None:
    """Compare `--precision int8` with the other ways."""
    ratios = [f"{rate / results[way]['rate']:.2f} × {NAMES[way]}" for way in ("quickstart", "data loader")]
    print(f"this program by --precision int8: {rate:.1f} images/s, {'; '.join(ratios)}")


def _report_sharing(rate: float, ceiling: float, decoding: float) -> None:
    """Print the highest rate that is possible if decoding and the model share the same cores."""
    both = 1 / (1 / ceiling + 1 / decoding)
    print(
        f"decoding alone runs at {decoding:,.0f} images/s, on the cores that the model needs, too: taking turns, "
        f"with no core ever idle, they do {both:.1f} images/s ({both / ceiling:.0%}); this program reaches "
        f"{rate / both:.0%} of that"
    )


def _report_bounds(peak: dict[str, Any]) -> None:
    """Print the highest rate that this CPU allows."""
    theirs, ours = peak["gflop_reference"], peak["gflop"]
    print(f"an image takes {theirs:.2f} GFLOP in the reference's network and {ours:.2f} in ours")
    for precision, gflops in peak["gflops"].items():
        print(
            f"{precision} matrix products alone run at {gflops:,.0f} GFLOP/s on this CPU: in {precision} "
            f"{gflops / ours:.1f} images/s is the most that it can do"
        )
    print()


def _report_batches(common: dict[str, Any]) -> None:
    """Print the rate of each model by batch size."""
    rows = []
    for model in (MODEL, "builtin", *OTHERS):
        file = random_weights(Path(common["folder"]), model) if model != "builtin" else ""
        at = common | {"weights": str(file), "model": model}
        rates = measure("benchmarks.throughput", "batches", **at)["rates"]
        rows.append([model, *(f"{rate:.1f}" for rate in rates)])
        if model in OTHERS:
            Path(file).unlink()  # 1.5 GB
    table(rows, ["images/s of a model alone, by batch", *map(str, BATCHES)])


def _run(
    subject: str, weights: str, device: str, folder: str, paths: list[str] | None = None, model: str = MODEL
) -> dict[str, Any]:
    from .baselines import BASELINES, new_uri

    paths = paths or []
    if subject in BASELINES:
        seconds = BASELINES[subject](paths, weights, device, new_uri(folder, subject))
        return {"images": len(paths), "rate": len(paths) / seconds.pop("total"), "limit": _limit(seconds)}
    if subject == "ours":
        return _ours(paths, weights, device, folder)
    if subject == "ours by int8":
        _ours(paths, weights, device, folder, "int8")  # calibrates, once per machine and model
        return _ours(paths, weights, device, folder, "int8")
    if subject == "peak":
        return _peak(weights)
    if subject == "decode":
        return _decode_alone(paths)
    return _model_alone(subject, model, weights, device)


def _ours(paths: list[str], weights: str, device: str, folder: str, precision: str = "auto") -> dict[str, Any]:
    from pipelines import Settings, run_insert

    place = Path(tempfile.mkdtemp(dir=folder))
    source = write_table([Path(path) for path in paths], place / "ours.csv")
    settings = Settings(str(place / "ours.db"), model=MODEL, weights=weights, device=device, precision=precision)
    summary = run_insert(source, settings, profile=True)
    steps = {"decode": "image-decode", "model": "image-text-embedding", "Milvus": "ann-insert"}
    seconds = {
        stage: sum(value for step, value in summary.step_seconds.items() if part in step)
        for stage, part in steps.items()
    }
    return {
        "images": summary.inserted, "rate": summary.inserted / summary.seconds, "limit": _limit(seconds),
        "runtime": summary.runtime,
    }  # fmt: skip


def _model_alone(subject: str, name: str, weights: str, device: str) -> dict[str, Any]:
    """Measure from decoded images to embeddings, with the program's batch size or each of BATCHES."""
    from pipelines.models.clip import load_model

    model = load_model(name, weights, device)
    size = model.spec.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (256, size, size, 3), dtype=np.uint8)
    model.embed_images(pixels[:2])
    if subject == "warm up":
        model.embed_texts(["a dog"])
        return {}
    if subject == "batches":
        return {"rates": [_rate(model, pixels[:batch], seconds=3)[0] for batch in BATCHES]}
    rate, count = _rate(model, pixels[: model.default_batch_size], seconds=6)
    return {"images": count, "rate": rate, "limit": "model"}


def _decode_alone(paths: list[str]) -> dict[str, Any]:
    """Measure from files to images of the model's size, on all cores."""
    from pipelines.models.registry import get_model
    from pipelines.operators.image_decode import ImageDecode

    decode = ImageDecode("rgb", size=get_model(MODEL).image_size)
    decode(paths[:8])
    start = time.perf_counter()
    for at in range(0, len(paths), 64):
        decode(paths[at : at + 64])
    return {"rate": len(paths) / (time.perf_counter() - start)}


def _rate(model: Any, batch: np.ndarray, seconds: float) -> tuple[float, int]:
    """Return the images per second, and the number of images embedded to measure it."""
    model.embed_images(batch)
    start, count, passed = time.perf_counter(), 0, 0.0
    while passed < seconds:
        model.embed_images(batch)
        count, passed = count + len(batch), time.perf_counter() - start
    return count / passed, count


def _peak(weights: str) -> dict[str, Any]:
    """Return the speed of a large matrix product on the CPU by precision, and the operations per image."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from pipelines.models.networks import build_network, image_tower
    from pipelines.models.pytorch_runtime import fast_dtype
    from pipelines.models.registry import get_model

    spec = get_model(MODEL)
    network = build_network(spec, Path(weights))
    with torch.inference_mode(), FlopCounterMode(display=False) as reference:
        network.encode_image(torch.zeros(1, 3, spec.image_size, spec.image_size))
    tower = image_tower(network, spec)
    with torch.inference_mode(), FlopCounterMode(display=False) as ours:
        tower(torch.zeros(1, spec.image_size, spec.image_size, 3, dtype=torch.uint8))
    return {
        "gflops": {
            str(dtype).removeprefix("torch."): _product_gflops(dtype)
            for dtype in dict.fromkeys((torch.float32, fast_dtype("cpu")))
        },
        "gflop": ours.get_total_flops() / 1e9,
        "gflop_reference": reference.get_total_flops() / 1e9,
    }


def _product_gflops(dtype: torch.dtype) -> float:
    """Return the GFLOP/s of the widest matrix product of a ViT-B/32, for a batch of 32 images."""
    import torch

    left, right = torch.randn(1600, 768, dtype=dtype), torch.randn(768, 3072, dtype=dtype)
    best = min(_seconds(lambda: left @ right) for _ in range(30))
    return 2 * 1600 * 768 * 3072 / best / 1e9


def _seconds(function: Any) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _limit(seconds: dict[str, float]) -> str:
    """Return the share of each stage in the seconds of all stages, the largest first."""
    total = sum(seconds.values()) or 1.0
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    return ", ".join(f"{stage} {value / total:.0%}" for stage, value in ordered)


if __name__ == "__main__":
    main()
