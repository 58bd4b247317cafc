"""Where weights come from (shipped, a given file, the cache, a download) and how a file becomes tensors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from ..settings import cache_dir
from .download import download
from .registry import ModelSpec

if TYPE_CHECKING:
    import torch


def locate(spec: ModelSpec, weights: str = "") -> Path:
    """The model's weights file, downloaded on first use.

    Args:
        weights: a file to use instead of the registry's.

    Raises:
        ModelError: the file is not there and cannot be fetched; the message names it and where to put it.
    """
    if weights:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise ModelError(f"there is no weights file {path}")
        return path
    if spec.weights.path is not None:
        if not spec.weights.path.is_file():
            raise ModelError(f"{spec.weights.path}, which ships with this package, is gone: reinstall it")
        return spec.weights.path
    path = cache_dir() / spec.weights.file
    if not path.is_file():
        download(spec.weights.url, path, spec.weights.sha256)
    return path


def load_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Reads safetensors, a state dict saved by torch, or OpenAI's TorchScript archive, as float32.

    Nothing in the file is executed: pickles are read with `weights_only`. An int8 tensor `NAME` beside a
    `NAME.scale` is a quantised one (how `builtin` fits under 25 MB).

    Raises:
        ModelError: none of these, or damaged.
    """
    try:
        state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelError(f"{path} holds no weights that can be read: {reason}") from error
    scales = {name: state.pop(name) for name in [*state] if name.endswith(".scale") and name[: -len(".scale")] in state}
    for name, scale in scales.items():
        weight = name[: -len(".scale")]
        state[weight] = state[weight].float() * scale.float()
    return {name: tensor.float() for name, tensor in state.items()}


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(path))


def _read_torch(path: Path) -> dict[str, torch.Tensor]:
    import torch

    if _is_torchscript(path):
        return dict(torch.jit.load(str(path), map_location="cpu").state_dict())
    loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    state = loaded.get("state_dict", loaded)
    return {name.removeprefix("module."): value for name, value in state.items() if isinstance(value, torch.Tensor)}


def _is_torchscript(path: Path) -> bool:
    import zipfile

    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
