"""JSON, tensors and weights, written atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..files import write_atomically


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
