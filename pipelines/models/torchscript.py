"""Tensors out of a TorchScript archive (how OpenAI publishes CLIP) without running the program that comes with them.

`torch.jit.load` runs the archive's own `__setstate__` code, which may write files. Here the archive is what it is on
disk, a zip of raw tensors and one pickle that names them, and the pickle may build nothing but these.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

_DTYPES = {
    "FloatStorage": torch.float32, "HalfStorage": torch.float16, "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


def is_torchscript(path: Path) -> bool:
    """Whether the file is a TorchScript archive, and not one of `torch.save`."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, torch.Tensor]:
    """All parameters and buffers under the names that `state_dict` gives them.

    Raises:
        pickle.UnpicklingError: the archive builds something else than modules and tensors.
    """
    with zipfile.ZipFile(path) as archive:
        pickled = min((name for name in archive.namelist() if name.endswith("/data.pkl")), key=len)
        with archive.open(pickled) as file:
            return dict(_tensors(_Unpickler(file, archive, pickled.removesuffix(".pkl")).load()))


class _Module:
    """Any module of the archive; its attributes are all that is known of it."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(file)
        self._archive, self._folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return _Module
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("collections", "OrderedDict"): OrderedDict,
            ("torch.jit._pickle", "restore_type_tag"): _first,
            ("torch", "device"): _first,
        }
        known |= {("torch.jit._pickle", f"build_{kind}list"): _first for kind in ("int", "bool", "double", "tensor")}
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a model's weights")
        return known[module, name]

    def persistent_load(self, pid: Any) -> torch.Tensor:
        _, dtype, key, _, _ = pid
        data = self._archive.read(f"{self._folder}/{key}")
        return torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)


def _rebuild_tensor(storage: torch.Tensor, offset: int, size: Any, stride: Any, *_: object) -> torch.Tensor:
    return storage.as_strided(size, stride, offset)  # checks the bounds


def _first(value: Any, *_: object) -> Any:
    return value


def _tensors(module: Any, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in vars(module).items():
        if isinstance(value, torch.Tensor):
            yield prefix + name, value
        elif isinstance(value, _Module):
            yield from _tensors(value, f"{prefix}{name}.")
