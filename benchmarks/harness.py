"""Shared by the benchmarks: random weights, photographs, one process per measurement, and its peak memory."""

from __future__ import annotations

import csv
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MODEL = "clip_vit_base_patch32"


def random_weights(folder: Path, model: str = MODEL) -> Path:
    """Write random weights. They take the same arithmetic as published weights, and need no download."""
    import torch
    from safetensors.torch import save_file

    from pipelines.models.networks import empty_network
    from pipelines.models.registry import get_model
    from pipelines.towhee_compat import import_clip

    path = folder / f"{model}.safetensors"
    if path.exists():
        return path
    torch.manual_seed(0)
    spec = get_model(model)
    if spec.family == "clip" and not spec.text:
        network = import_clip().CLIP(**spec.architecture.values())
    else:
        network = empty_network(spec)
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                torch.nn.init.normal_(tensor, mean=float(name.endswith("weight") and tensor.dim() == 1), std=0.02)
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    return path


def photographs(source: str, folder: Path, count: int) -> list[Path]:
    """Return the first images of a CSV; without a CSV, make distinct files of 500×375 pixels."""
    if source:
        with open(source, newline="", encoding="utf-8") as file:
            paths = [Path(source).parent / row["path"] for row in csv.DictReader(file)]
        return [path.resolve() for path in paths[:count]]
    drawn = [large_image(500, 375, number) for number in range(min(count, 50))]
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for number, path in enumerate(paths):  # every file differs, because a copy would not be embedded again
        drawn[number % len(drawn)].save(path, quality=92, comment=str(number))
    return paths


def large_image(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return an enlarged photograph from scikit-image with the noise of a camera."""
    from skimage import data

    names = ("astronaut", "chelsea", "coffee", "rocket")
    image = Image.fromarray(getattr(data, names[seed % len(names)])())
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)).astype(np.float32)
    grain = np.random.default_rng(seed).normal(0, 4, pixels.shape).astype(np.float32)
    return Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8))


def write_table(paths: list[Path], table: Path) -> Path:
    """Write a CSV that lists images, and return its path."""
    with open(table, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "path"], *enumerate(paths)])
    return table


def measure(module: str, subject: str, **arguments: Any) -> dict[str, Any]:
    """Run one subject of a benchmark in a new process. Return its measurements and its peak memory in MB."""
    command = [sys.executable, "-W", "ignore", "-m", module, "--subject", subject, "--arguments", json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{module} --subject {subject} failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def report(result: dict[str, Any]) -> None:
    """Print the last line of a subject's process. The peak memory is that of the process without its workers."""
    print(json.dumps({**result, "peak_mb": peak_mb()}), flush=True)


def peak_mb() -> float:
    """Return the peak memory of this process in MB."""
    # Not from getrusage: its peak can be that of the parent process.
    with open("/proc/self/status") as status:
        return int(status.read().split("VmHWM:")[1].split()[0]) / 1024


def machine() -> str:
    """Describe the machine in one line."""
    from importlib.metadata import version

    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            text = file.read()
        model = text.split("model name")[1].split(":")[1].splitlines()[0].strip()
        flags = text.split("flags")[1].split(":")[1].splitlines()[0].split()
        has = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if name in flags]
    except (OSError, IndexError):
        has = []
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "openvino", "towhee", "pymilvus"))
    return f"{os.cpu_count()} cores of {model} ({', '.join(has)}); {packages}"


def table(rows: list[list[Any]], headers: list[str]) -> None:
    """Print a Markdown table."""
    from tabulate import tabulate

    print(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True), flush=True)
