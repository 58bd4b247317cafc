"""The weights file: plain CLIP tensor names, small enough to ship inside the package.

Large matrices are stored as int8 beside one fp16 scale per output row (`NAME` and `NAME.scale`); the product
of the two is the weight. Everything else is fp16.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from pipelines.files import write_atomically

MAX_FILE_BYTES = 25_000_000
# Below this many numbers, int8 saves nothing that matters.
_SMALL = 4096


def quantise(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """int8 values and the fp16 scale of each row, shaped to multiply them back."""
    rows = weight.float().flatten(1)
    scale = (rows.abs().amax(1) / 127).clamp_min(1e-7).half()
    values = (rows / scale.float().unsqueeze(1)).round().clamp(-127, 127).to(torch.int8)
    return values.reshape(weight.shape), scale.reshape([-1] + [1] * (weight.dim() - 1))


def pack(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of the weights file, from a CLIP state dict."""
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        if tensor.dim() >= 2 and tensor.numel() > _SMALL:
            tensors[name], tensors[f"{name}.scale"] = quantise(tensor)
        else:
            tensors[name] = tensor.detach().half().contiguous()
    return tensors


def unpack(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The inverse of `pack`, in float32."""
    return {
        name: tensor.float() * tensors[f"{name}.scale"].float() if tensor.dtype == torch.int8 else tensor.float()
        for name, tensor in tensors.items()
        if not name.endswith(".scale")
    }


def save(state: Mapping[str, torch.Tensor], path: Path, metadata: Mapping[str, str]) -> int:
    """Writes the weights file in one step, so that a reader never sees half of it; returns its size in bytes.

    Raises:
        ValueError: the file would be too large to ship.
    """
    from safetensors.torch import save as serialise

    data = serialise(pack(state), metadata=dict(metadata))
    if len(data) >= MAX_FILE_BYTES:
        raise ValueError(f"the weights take {len(data):,} bytes; {MAX_FILE_BYTES:,} is the limit")
    write_atomically(path, lambda part: part.write_bytes(data))
    return len(data)


def read(path: Path) -> dict[str, torch.Tensor]:
    """Reads a weights file back into a CLIP state dict."""
    from safetensors.torch import load_file

    return unpack(load_file(path))
