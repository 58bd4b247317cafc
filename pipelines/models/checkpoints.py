"""Read a weights file as float32 tensors under OpenAI's names, without running anything in it.

The formats are safetensors, `torch.save` and OpenAI's TorchScript archives; `names` lists the layouts.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch

from ..errors import ModelError
from .architecture import Architecture
from .names import with_own_names
from .registry import list_models
from .torch_files import State, read_torch

SCALE = ".scale"
# Largest ratio of the tensors' size to the file's size. It is above 1 because some towers share an embedding.
MOST_SHARED = 4


def load_state_dict(path: Path) -> State:
    """Read the tensors of a file.

    Nothing in the file is executed: a pickle may hold only tensors, and TorchScript code is not run. An int8 tensor
    `NAME` with a `NAME.scale` beside it is quantised; this keeps the file of `builtin` under 25 MB.

    Raises:
        ModelError: the file is damaged or has another format.
    """
    try:
        state = _read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)
        _check_sizes(state, path.stat().st_size)
        return _in_own_form(state)
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch's own message advises switching the check off
            reason = "it is damaged, or a pickle of more than tensors, which is never loaded"
        raise ModelError(f"{path} holds no weights that can be read: {reason}") from error


def _in_own_form(state: State) -> State:
    """Return the tensors as float32 under this program's names."""
    scales = {name: state.pop(name) for name in [*state] if name.endswith(SCALE) and name[: -len(SCALE)] in state}
    for name, scale in scales.items():
        weight = name[: -len(SCALE)]
        if torch.broadcast_shapes(state[weight].shape, scale.shape) != state[weight].shape:
            raise ValueError(f"'{name}' does not fit '{weight}'")
        state[weight] = state[weight].float() * scale.float()
    return {name: tensor.float() for name, tensor in with_own_names(state).items()}


def _check_sizes(state: State, file_size: int) -> None:
    """Reject tensors that claim more bytes than the file holds: views of a few bytes expand when made float32."""
    total = sum(tensor.numel() * tensor.element_size() for tensor in state.values() if tensor.dtype != torch.float32)
    if total > MOST_SHARED * file_size:
        raise ValueError(f"its tensors claim {total:,} bytes, and the file has {file_size:,}")
    odd = [name for name, one in state.items() if one.layout is not torch.strided or one.device.type != "cpu"]
    if odd:
        raise ValueError(f"the numbers of '{odd[0]}' are not all there")


def _read_safetensors(path: Path) -> State:
    from safetensors.torch import load_file

    return dict(load_file(path))


def guess_model(state: State) -> str:
    """Name the known models whose tensors have these sizes, as a phrase for an error message."""
    architecture = _infer_architecture(state)
    if architecture is None:
        return "it is no CLIP that this program knows"
    names = [spec.name for spec in list_models() if spec.architecture == architecture]
    return f"it seems to be {' or '.join(names)}" if names else "it seems to be a CLIP of other sizes"


def _infer_architecture(state: State) -> Architecture | None:
    """Infer the architecture from tensor shapes; None for another kind of network."""
    try:
        text_width, dim = state["text_projection"].shape
        if "visual.proj" in state:
            width, _, patch, _ = state["visual.conv1.weight"].shape
            resolution = patch * round((len(state["visual.positional_embedding"]) - 1) ** 0.5)
            depth: Any = _count(state, r"visual\.transformer\.resblocks\.(\d+)\.ln_1\.weight")
        else:
            width, patch = len(state["visual.layer1.0.conv1.weight"]), None
            resolution = 32 * round((len(state["visual.attnpool.positional_embedding"]) - 1) ** 0.5)
            depth = tuple(_count(state, rf"visual\.layer{stage}\.(\d+)\.conv1\.weight") for stage in (1, 2, 3, 4))
        # The shapes do not show the number of heads. In every CLIP a head of the text tower has 64 dimensions.
        layers = _count(state, r"transformer\.resblocks\.(\d+)\.ln_1\.weight")
        return Architecture(dim, resolution, depth, width, patch, text_width, text_width // 64, layers)
    except (KeyError, ValueError):
        return None


def _count(state: State, pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in state)
