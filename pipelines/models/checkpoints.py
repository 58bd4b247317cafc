"""Read a weights file as float32 tensors under OpenAI's names, without running anything in it.

Safetensors, files of `torch.save` and OpenAI's TorchScript archives are read; the names may be those of OpenAI,
open_clip, a training run or Hugging Face's `CLIPModel`.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..errors import ModelError
from .registry import list_models
from .spec import Architecture

State = dict[str, torch.Tensor]

SCALE = ".scale"


def load_state_dict(path: Path) -> State:
    """Read the tensors of a file.

    Nothing in the file is executed: pickles may hold tensors and nothing else, TorchScript is not run. An int8
    tensor `NAME` beside a `NAME.scale` is a quantised one, as in `builtin`, which is kept under 25 MB this way.

    Raises:
        ModelError: the file is damaged or of another kind.
    """
    try:
        state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch's own message advises to switch the check off
            reason = "it is damaged, or a pickle of more than tensors, which is never loaded"
        raise ModelError(f"{path} holds no weights that can be read: {reason}") from error
    scales = {name: state.pop(name) for name in [*state] if name.endswith(SCALE) and name[: -len(SCALE)] in state}
    for name, scale in scales.items():
        weight = name[: -len(SCALE)]
        state[weight] = state[weight].float() * scale.float()
    return {name: tensor.float() for name, tensor in _with_openai_names(state).items()}


def _read_safetensors(path: Path) -> State:
    from safetensors.torch import load_file

    return dict(load_file(path))


def _read_torch(path: Path) -> State:
    if _is_torchscript(path):
        return _read_torchscript(path)
    loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(loaded, dict):
        raise ValueError("it is no state dict")
    state = loaded.get("state_dict", loaded)
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


# --- TorchScript: how OpenAI publishes CLIP --------------------------------------------------------------------------
# `torch.jit.load` runs the archive's own `__setstate__` code, which may write files. On disk the archive is a zip of
# raw tensors and one pickle that names them; here that pickle may build tensors and empty modules only.

_DTYPES = {
    "FloatStorage": torch.float32, "HalfStorage": torch.float16, "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


def _is_torchscript(path: Path) -> bool:
    """Return whether the file is a TorchScript archive, as opposed to a zip that `torch.save` wrote."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _read_torchscript(path: Path) -> State:
    """Return parameters and buffers under the names that `state_dict` gives them.

    Raises:
        pickle.UnpicklingError: the archive builds something other than modules and tensors.
    """
    with zipfile.ZipFile(path) as archive:
        pickled = min((name for name in archive.namelist() if name.endswith("/data.pkl")), key=len)
        with archive.open(pickled) as file:
            return dict(_tensors(_Unpickler(file, archive, pickled.removesuffix(".pkl")).load()))


class _Module:
    """Stands for every module of the archive and holds its attributes."""


def _rebuild_tensor(storage: torch.Tensor, offset: int, size: Any, stride: Any, *_: object) -> torch.Tensor:
    return storage.as_strided(size, stride, offset)  # checks the bounds


def _first(value: Any, *_: object) -> Any:
    return value


_BUILDERS = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("collections", "OrderedDict"): OrderedDict,
    ("torch.jit._pickle", "restore_type_tag"): _first,
    ("torch", "device"): _first,
    **{("torch.jit._pickle", f"build_{kind}list"): _first for kind in ("int", "bool", "double", "tensor")},
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(file)
        self._archive, self._folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return _Module
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) not in _BUILDERS:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a model's weights")
        return _BUILDERS[module, name]

    def persistent_load(self, pid: Any) -> torch.Tensor:
        _, dtype, key, _, _ = pid
        data = self._archive.read(f"{self._folder}/{key}")
        return torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)


def _tensors(module: Any, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in vars(module).items():
        if isinstance(value, torch.Tensor):
            yield prefix + name, value
        elif isinstance(value, _Module):
            yield from _tensors(value, f"{prefix}{name}.")


# --- Names and sizes -------------------------------------------------------------------------------------------------

# Hugging Face's names → OpenAI's, inside a block ("layers.3.") and outside.
_HF_BLOCK = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip
_HF_NAMES = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",  # misspelt there
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "logit_scale": "logit_scale",
}
_HF_LAYER = re.compile(r"(vision|text)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")


def _with_openai_names(state: State) -> State:
    # open_clip's checkpoints put "module." in front of every name, and "text." in front of the text tower's.
    state = {name.removeprefix("module.").removeprefix("text."): tensor for name, tensor in state.items()}
    return _from_hugging_face(state) if "visual_projection.weight" in state else state


def _from_hugging_face(state: State) -> State:
    renamed = {_HF_NAMES[name]: tensor for name, tensor in state.items() if name in _HF_NAMES}
    # Hugging Face's projections are linear layers, OpenAI's are matrices to multiply by.
    renamed["visual.proj"] = state["visual_projection.weight"].T
    renamed["text_projection"] = state["text_projection.weight"].T
    for name, tensor in state.items():
        match = _HF_LAYER.fullmatch(name)
        if match is None:
            continue
        tower, number, part, kind = match.groups()
        block = f"{'visual.' if tower == 'vision' else ''}transformer.resblocks.{number}"
        if part in _HF_BLOCK:
            renamed[f"{block}.{_HF_BLOCK[part]}.{kind}"] = tensor
        elif part == "self_attn.q_proj":  # OpenAI's query, key and value are one matrix
            parts = [state[name.replace("q_proj", f"{which}_proj")] for which in "qkv"]
            renamed[f"{block}.attn.in_proj_{kind}"] = torch.cat(parts)
    return renamed


def guess_model(state: State) -> str:
    """Name the known models whose tensors have these sizes, in words for an error message."""
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
        # The number of heads leaves no trace; in every CLIP a head of the text tower has 64 dimensions.
        layers = _count(state, r"transformer\.resblocks\.(\d+)\.ln_1\.weight")
        return Architecture(dim, resolution, depth, width, patch, text_width, text_width // 64, layers)
    except (KeyError, ValueError):
        return None


def _count(state: State, pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in state)
