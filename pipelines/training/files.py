"""Files that are either whole or not there, whenever the process is killed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch


def part_of(path: Path) -> Path:
    """Where a file is written before it is whole."""
    return path.with_name(f".{path.name}.part")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file beside `path`, puts it on disk, and renames it."""
    part = part_of(path)
    write(part)
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


def save_atomically(value: object, path: Path) -> None:
    """`torch.save`."""
    write_atomically(path, lambda part: torch.save(value, part))


def save_json(value: Mapping[str, Any], path: Path) -> None:
    """Indented JSON in UTF-8."""
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def save_weights(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """safetensors, under CLIP's own names."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    write_atomically(path, lambda part: save_file(tensors, part))
