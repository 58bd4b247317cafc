"""Write the results of the stages atomically."""

from __future__ import annotations

from pathlib import Path

import torch

from pipelines.files import write_atomically


def save(value: object, path: Path) -> None:
    """Write tensors with `torch.save`."""
    write_atomically(path, lambda part: torch.save(value, part))
