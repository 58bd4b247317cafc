"""Where weights come from (shipped, a given file, the cache, a download), and how a file becomes tensors."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from ..settings import cache_dir
from .download import download, sha256_of
from .layouts import with_openai_names
from .registry import ModelSpec

if TYPE_CHECKING:
    import torch


# Below this a file is hashed in less time than its note takes to read.
REMEMBER_BYTES = 64 * 2**20


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


def fingerprint(path: Path) -> str:
    """SHA-256 of a weights file, hexadecimal; of a large one remembered for as long as the file is not touched."""
    status = path.stat()
    if status.st_size < REMEMBER_BYTES:
        return sha256_of(path)
    state = [str(path.resolve()), status.st_size, status.st_mtime_ns]
    note = cache_dir() / "fingerprints" / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:20]}.json"
    try:
        *known, sha256 = json.loads(note.read_text())
        if known == state:
            return str(sha256)
    except (OSError, ValueError):
        pass
    sha256 = sha256_of(path)
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        part = note.with_name(f"{os.getpid()}-{note.name}")
        part.write_text(json.dumps([*state, sha256]))
        part.replace(note)
    except OSError:  # no place to remember it: it is computed each time
        pass
    return sha256


def load_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Reads safetensors, a state dict saved by torch, or OpenAI's TorchScript archive, as float32 by OpenAI's names.

    The tensors may be OpenAI's, open_clip's, a training run's or those of Hugging Face's `CLIPModel`.

    Nothing in the file is executed: pickles may hold tensors and nothing else, TorchScript is not run. An int8
    tensor `NAME` beside a `NAME.scale` is a quantised one (how `builtin` fits under 25 MB).

    Raises:
        ModelError: none of these, or damaged.
    """
    try:
        state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch's own text advises to switch the check off
            reason = "it is damaged, or a pickle of more than tensors, which is never loaded"
        raise ModelError(f"{path} holds no weights that can be read: {reason}") from error
    scales = {name: state.pop(name) for name in [*state] if name.endswith(".scale") and name[: -len(".scale")] in state}
    for name, scale in scales.items():
        weight = name[: -len(".scale")]
        state[weight] = state[weight].float() * scale.float()
    return {name: tensor.float() for name, tensor in with_openai_names(state).items()}


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(path))


def _read_torch(path: Path) -> dict[str, torch.Tensor]:
    import torch

    from .torchscript import is_torchscript, read_torchscript

    if is_torchscript(path):
        return read_torchscript(path)
    loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(loaded, dict):
        raise ValueError("it is no state dict")
    state = loaded.get("state_dict", loaded)
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
