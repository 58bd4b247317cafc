"""Read `torch.save` files and TorchScript archives (as OpenAI publishes CLIP) without running anything in them.

`torch.jit.load` runs the archive's own `__setstate__` code, which may write files. On disk, the archive is a zip of raw
tensors and one pickle that names them. Here that pickle may build only tensors and empty modules.
"""

from __future__ import annotations

import functools
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch

State = dict[str, torch.Tensor]

_DTYPES = {
    "FloatStorage": torch.float32, "HalfStorage": torch.float16, "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip
# Bytes that unpacking may add. Tensors are stored uncompressed; compressed parts are small.
_MOST_PACKED = 2**26
# Far more than a model has. Sixty nested tuples that each hold the next one twice take few bytes for 2⁶⁰ members.
_MOST_MODULES, _MOST_MEMBERS = 100_000, 10_000
_LEGACY_PICKLES = 5  # in a file from before PyTorch 1.6: a number, the version, the system, the tensors, their storages
_KEPT = {"BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"}
_FETCHED = {"BINGET", "LONG_BINGET", "GET"}


class _Endless(ValueError):
    """A pickle of few bytes that would never finish loading."""


def read_torch(path: Path) -> State:
    """Return the tensors of a file under the names that `state_dict` gives them.

    Raises:
        pickle.UnpicklingError: it builds something other than modules and tensors.
        ValueError: it is no state dict, or unpacks to much more than its own size.
    """
    if not zipfile.is_zipfile(path):
        _check_legacy(path)
    elif _check_archive(path):
        return _read_torchscript(path)
    loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(loaded, dict):
        raise ValueError("it is no state dict")
    state = loaded.get("state_dict", loaded)
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


def _check_archive(path: Path) -> bool:
    """Check the size and the pickles of an archive; return whether it is TorchScript's, not one of `torch.save`."""
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
        if size > path.stat().st_size + _MOST_PACKED:
            raise ValueError(f"it unpacks to {size >> 20:,} MB")
        for name in archive.namelist():
            if name.lower().endswith("data.pkl"):  # PyTorch ignores upper and lower case
                with archive.open(name) as file:
                    _check_pickle(file)
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _check_legacy(path: Path) -> None:
    with open(path, "rb") as file:
        for _ in range(_LEGACY_PICKLES):
            try:
                _check_pickle(file)
            except _Endless:
                raise
            except Exception:  # not a pickle: PyTorch reports that itself
                return


def _pickle_in(archive: zipfile.ZipFile) -> str:
    return min((name for name in archive.namelist() if name.endswith("/data.pkl")), key=len)


def _check_pickle(file: IO[bytes]) -> None:
    """Reject tuples nested too deeply: they take little space, but computing their hash would never end.

    Simulates the pickle's stack. In place of a value, the stack holds its number of members at all depths.
    """
    stack: list[int] = []
    marks: list[int] = []
    memo: dict[object, int] = {}
    for code, argument, _ in pickletools.genops(file):
        if code.name == "MARK":
            marks.append(len(stack))
        elif code.name in _KEPT:
            memo[len(memo) if code.name == "MEMOIZE" else argument] = stack[-1]
        elif code.name in _FETCHED:
            stack.append(memo[argument])
        elif code.name == "DUP":
            stack.append(stack[-1])
        else:
            taken = code.stack_before
            start = len(stack) - len(taken)
            if pickletools.markobject in taken:
                start = marks.pop() - taken.index(pickletools.markobject)
            members = 1 + sum(stack[start:]) if code.name.startswith(("TUPLE", "FROZENSET")) else 1
            if start < 0 or members > _MOST_MEMBERS:
                raise _Endless("a pickle of tuples in tuples without end")
            stack[start:] = [members] * len(code.stack_after)


def _read_torchscript(path: Path) -> State:
    with zipfile.ZipFile(path) as archive:
        pickled = _pickle_in(archive)
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


class _Unpickler(pickle._Unpickler):  # the C version allocates memory for any memo index in the file
    def __init__(self, file: Any, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(file)
        # Each entry is read once, however often the pickle names it.
        self._read = functools.cache(lambda key: bytearray(archive.read(f"{folder}/{key}")))

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
        data = self._read(str(key))
        return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)


def _tensors(module: _Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of a module and all its submodules, with their names."""
    waiting, seen = [("", module)], 0
    while waiting:
        prefix, module = waiting.pop()
        seen += 1
        if seen > _MOST_MODULES:
            raise ValueError("modules in modules without end")
        for name, value in vars(module).items():
            if isinstance(value, torch.Tensor):
                yield prefix + name, value
            elif isinstance(value, _Module):
                waiting.append((f"{prefix}{name}.", value))
