"""Models that lie, exhaust the memory or never finish loading: `python -m benchmarks.hostile_models FOLDER`

Write the models into an empty folder, and print the command-line options that use each. If loading one runs a command,
the file `stolen` appears in the folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from pipelines.models.architecture import Architecture
from pipelines.models.model_folder import CARD_FILE, WEIGHTS_FILE
from pipelines.models.networks import empty_network
from pipelines.models.registry import BUILTIN
from pipelines.models.spec import with_own_weights

_VIT = Architecture(16, 32, 2, 64, 8, 64, 1, 2, 20)
_CLIP = {"model_type": "clip", "projection_dim": 16, "text_config": {}, "vision_config": {}}
_MODULE = b"c__torch__\nM\n)\x81"
State = dict[str, torch.Tensor]


def main() -> None:
    """Print the options for each model as JSON."""
    print(json.dumps(make(Path(sys.argv[1]))))


def make(folder: Path) -> dict[str, list[str]]:
    """Write the models, and return the options that use each."""
    state = _state()
    weights = _safetensors(state)
    found = {name: {CARD_FILE: card.encode(), WEIGHTS_FILE: data} for name, card, data in _folders(state)}
    found |= {name: {"config.json": text.encode(), WEIGHTS_FILE: weights} for name, text in _configurations()}
    config = json.dumps(_CLIP).encode()
    stolen = folder / "stolen"
    found |= {name: {"config.json": config, "pytorch_model.bin": data} for name, data in _pickles(state, stolen)}
    found |= {name: {WEIGHTS_FILE: weights} for name, _ in _special_files()}
    for name, files in found.items():
        path = folder / name
        path.mkdir()
        for file, data in files.items():
            (path / file).write_bytes(data)
    for name, put in _special_files():
        put(folder / name / CARD_FILE)
    return {name: ["--model", str(folder / name)] for name in found}


def _folders(state: State) -> Iterator[tuple[str, str, bytes]]:
    """Yield the name, card and weights of folders in the format of `train`."""
    weights = _safetensors(state)
    card, width = _card(weights), f'"vision_width": {_VIT.vision_width}'
    yield "a card nested 100,000 deep", "[" * 100_000, weights
    yield "a card of text", "no card", weights
    for kind, digits in (("of 10¹²", f"{10**12}"), ("below 0", "-64"), ("of 5,000 digits", "9" * 5_000)):
        yield f"a width {kind}", card.replace(width, f'"vision_width": {digits}'), weights
    edge, patch = 2**17, 256
    patches = {"visual.positional_embedding": torch.zeros((edge // patch) ** 2 + 1, 64)}
    large = _safetensors({**state, **patches, "visual.conv1.weight": torch.zeros(64, 3, patch, patch)})
    yield "an image of 131,072 pixels a side", _card(large, image_resolution=edge, vision_patch_size=patch), large
    long = _safetensors({**state, "positional_embedding": torch.zeros(2**17, 64)})
    yield "texts of 131,072 tokens", _card(long, context_length=2**17), long
    wide = _safetensors({"a": torch.zeros(2**19, 1, dtype=torch.int8), "a.scale": torch.zeros(1, 2**19)})
    claim = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    for kind, data in (
        ("no weights", b""), ("weights cut off", weights[:-1000]), ("a scale that widens", wide),
        ("a header of 2⁶³ bytes", struct.pack("<Q", 2**63) + b"{}"),
        ("a header that claims 2⁴⁰ numbers", struct.pack("<Q", len(claim)) + claim + bytes(100)),
    ):  # fmt: skip
        yield kind, _card(data), data


def _special_files() -> Iterator[tuple[str, Callable[[Path], Any]]]:
    def empty(path: Path) -> None:
        with open(path, "wb") as file:
            file.truncate(2**33)  # a sparse file, which takes no disk space

    yield "a card of 8 GB", empty
    yield "a card that is a pipe", os.mkfifo
    yield "a card that leads to itself", lambda path: path.symlink_to(path)
    yield "a card that leads to a device", lambda path: path.symlink_to("/dev/zero")


def _configurations() -> Iterator[tuple[str, str]]:
    """Yield names and the `config.json` of repositories."""
    yield "a configuration nested 100,000 deep", '{"a":' * 100_000
    for name, size in (("a billion layers", 10**9), ("minus one layer", -1), ("infinitely many layers", float("inf"))):
        yield f"a configuration of {name}", json.dumps({**_CLIP, "vision_config": {"num_hidden_layers": size}})
    yield "a configuration of other types", json.dumps({**_CLIP, "text_config": [1], "vision_config": "x"})


def _pickles(state: State, stolen: Path) -> Iterator[tuple[str, bytes]]:
    class Thief:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch '{stolen}'",)

    yield "a pickle that runs a command", pickle.dumps({"a": Thief()})
    yield "an archive that runs a command", _saved({"a": Thief()})
    yield "TorchScript that evaluates", _script(b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.")
    yield "an index of a memo of 34 GB", _script(b"\x80\x02Nr\xff\xff\xff\x7f.")
    yield "a text of 2⁶⁰ bytes", b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"a."
    tuples = b"\x80\x02" + b"N\x85q\x00" + b"".join(b"h%ch%c\x86q%c" % (at, at, at + 1) for at in range(60))
    yield "a key of 2⁶⁰ tuples", tuples + b"}h\x3cNs."
    yield "a key of 2⁶⁰ tuples in an archive", _archive({"w/data.pkl": tuples + b"}h\x3cNs.", "w/version": b"3\n"})
    yield "a key of a million tuples in each other", b"\x80\x02}N" + b"\x85" * 10**6 + b"Ns."
    both = b"}(X\x01\x00\x00\x00ah%cX\x01\x00\x00\x00bh%cubq%c"
    modules = b"".join(_MODULE + both % (at, at, at + 1) for at in range(40))
    yield "modules of 2⁴⁰ modules", _script(b"\x80\x02" + _MODULE + b"q\x00" + modules + b".")
    yield "one storage, named 1,000 times", _script(_named_often(1_000), data=bytes(2**25))
    yield "an archive that unpacks to 256 MB", _script(pickle.dumps({}), zipfile.ZIP_DEFLATED, data=bytes(2**28))
    yield "few numbers that claim to be 10¹²", _saved({**state, "a": torch.zeros(1).expand(10**6, 10**6)})
    absent = {name: torch.empty(one.shape, device="meta") for name, one in state.items()}
    yield "numbers that are not there", _saved(absent)
    yield "sparse numbers", _saved({name: one.to_sparse() if one.dim() else one for name, one in state.items()})
    yield "texts in the place of numbers", _saved(dict.fromkeys(state, "x"))


def _named_often(times: int) -> bytes:
    """Return a pickled module whose tensors all lie in one storage."""
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x04\x00\x00\x00dataX\x03\x00\x00\x00cpuK\x05tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00K\x05\x85K\x01\x85\x89}tR"
    names = b"".join(b"X\x04\x00\x00\x00%04d" % number + tensor for number in range(times))
    return b"\x80\x02" + _MODULE + b"}(" + names + b"ub."


def _state() -> State:
    """Return the tensors of a small network, all zeros."""
    spec = dataclasses.replace(with_own_weights(BUILTIN), architecture=_VIT)
    return {name: torch.zeros_like(one) for name, one in empty_network(spec).state_dict().items()}


def _card(weights: bytes, **sizes: int) -> str:
    """Return a card for `weights` that claims these sizes."""
    half = [0.5] * 3
    values = {"licence": "MIT", "activation": "gelu", "mean": half, "std": half}
    architecture = {**_VIT.values(), **sizes}
    return json.dumps({**values, "sha256": hashlib.sha256(weights).hexdigest(), "architecture": architecture})


def _safetensors(state: State) -> bytes:
    from safetensors.torch import save

    return save({name: tensor.contiguous() for name, tensor in state.items()})


def _saved(values: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return buffer.getvalue()


def _script(pickled: bytes, packing: int = zipfile.ZIP_STORED, data: bytes = b"") -> bytes:
    return _archive({"w/constants.pkl": b"", "w/data.pkl": pickled, "w/data/data": data}, packing)


def _archive(files: dict[str, bytes], packing: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
