"""The weights file: plain CLIP tensor names, small enough to ship inside the package.

Large matrices are stored as int8 beside one fp16 scale per output row (`NAME` and `NAME.scale`); the product
of the two is the weight. Everything else is fp16.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch.nn import functional as F

from pipelines.files import write_atomically

MAX_FILE_BYTES = 25_000_000
# Tensors up to this number of elements stay fp16: int8 would save next to nothing.
_SMALL = 4096


def quantise(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return int8 values and the fp16 scale of each row; their product is the weight."""
    rows = weight.float().flatten(1)
    scale = (rows.abs().amax(1) / 127).clamp_min(1e-7).half()
    values = (rows / scale.float().unsqueeze(1)).round().clamp(-127, 127).to(torch.int8)
    return values.reshape(weight.shape), scale.reshape([-1] + [1] * (weight.dim() - 1))


def pack(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors of the weights file for a CLIP state dict."""
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
    """Invert `pack`, in float32."""
    return {
        name: tensor.float() * tensors[f"{name}.scale"].float() if tensor.dtype == torch.int8 else tensor.float()
        for name, tensor in tensors.items()
        if not name.endswith(".scale")
    }


def save(state: Mapping[str, torch.Tensor], path: Path, metadata: Mapping[str, str]) -> int:
    """Write the weights file atomically; return its size in bytes.

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
    """Read a weights file back into a CLIP state dict."""
    from safetensors.torch import load_file

    return unpack(load_file(path))


def at_resolution(state: Mapping[str, torch.Tensor], resolution: int) -> dict[str, torch.Tensor]:
    """Return the state of a ModifiedResNet CLIP with the positions of its attention pool interpolated."""
    name, side = "visual.attnpool.positional_embedding", resolution // 32
    mean, grid = state[name][:1], state[name][1:]
    trained = math.isqrt(len(grid))
    if trained == side:
        return dict(state)
    planes = grid.T.reshape(1, -1, trained, trained)
    resized = F.interpolate(planes, size=(side, side), mode="bilinear", align_corners=False)
    return {**state, name: torch.cat([mean, resized.flatten(2)[0].T])}
