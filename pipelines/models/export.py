"""Export a model for other programs: as ONNX files, as OpenVINO files, or as a model repository for Triton."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError, ModelError
from ..files import write_json
from ..settings import DEFAULT_MODEL, Settings
from .clip import find_weights
from .model_id import make_model_id, resolve_name
from .probe import MIN_COSINE, least_cosine, probe_of
from .registry import get_model
from .spec import RESIZE, TOKENIZER, ModelSpec
from .text_models import get_text_model

FORMATS = ("onnx", "openvino", "triton")
BACKENDS = ("onnxruntime", "python")
_PRECISIONS = {"auto": "fp32", "fp32": "fp32", "fp16": "fp16"}
# The first opset in which a layer norm is one operation. ONNX Runtime reads it since 1.12.
_OPSET = 17
# Minimum cosine to PyTorch's float32 output. Exports in float32 differ only in the order of operations.
_LEAST_COSINE = {"fp32": 0.9999, "fp16": MIN_COSINE}
_LARGEST_ONNX = 2**31  # bytes of a Protocol Buffers message
# Largest batch that the server accepts. Clients split larger ones, which might not fit into a GPU's memory.
_LARGEST_BATCH = 256


class ExportedTower(NamedTuple):
    """One exported tower: its file, and the lowest cosine between the file's output and PyTorch's."""

    kind: str
    path: Path
    cosine: float


class _Tower(NamedTuple):
    kind: str
    spec: ModelSpec
    module: Any
    expected: Callable[[np.ndarray], np.ndarray]  # PyTorch's output in float32
    facts: dict[str, str]  # what a server reports about the tower

    @property
    def probe(self) -> np.ndarray:
        return probe_of(self.kind, self.spec)


def export_model(
    settings: Settings, folder: str | os.PathLike[str], format: str = "onnx", backend: str = "onnxruntime"
) -> list[ExportedTower]:
    """Export the model that the settings name, or their text model, and compare the files' output with PyTorch's.

    Both towers take batches of any size. `input` is uint8[n, size, size, 3] RGB or int64[n, length] tokens; `embedding`
    is float32[n, dim], not normalised.

    Args:
        settings: `precision` may be fp32 or fp16.
        format: 'onnx', 'openvino', or 'triton' for a model repository.
        backend: Triton backend of the repository: 'onnxruntime', or 'python' for a server without it.

    Raises:
        InputError: the format is unknown, or needs a package that is missing.
        ModelError: the weights are missing, or the written files do not compute what PyTorch does.
    """
    if format not in FORMATS:
        raise InputError(f"there is no format '{format}'; there are {', '.join(FORMATS)}")
    if backend not in BACKENDS:
        raise InputError(f"there is no backend '{backend}'; there are {' and '.join(BACKENDS)}")
    if settings.precision not in _PRECISIONS:
        raise InputError(f"models are exported in fp32 or fp16, not in {settings.precision}")
    if format != "openvino" and importlib.util.find_spec("onnx") is None:
        raise InputError(f"--format {format} needs one more package: pip install onnx")
    target = Path(folder).expanduser()
    target.mkdir(parents=True, exist_ok=True)
    exported = []
    for tower in _towers(settings):
        with tempfile.TemporaryDirectory(dir=target, prefix=".part-") as part:
            if format == "triton":
                exported.append(_export_to_repository(tower, target, Path(part), backend))
            else:
                exported.append(_export_as_files(tower, target, Path(part), format))
    return exported


def _towers(settings: Settings) -> Iterator[_Tower]:
    import torch

    from . import networks

    name = resolve_name(settings.model or DEFAULT_MODEL)
    spec = get_text_model(settings.text_model, name) if settings.text_model else get_model(name)
    path, sha256 = find_weights(spec, "" if settings.text_model else settings.weights)
    precision = _PRECISIONS[settings.precision]
    facts = {"model_id": make_model_id(spec.name, sha256, spec.recipe), "recipe": spec.recipe, "precision": precision}

    def of_kind(kind: str, dtype: torch.dtype) -> torch.nn.Module:
        network = networks.build_network(spec, path)  # built anew each time: a tower changes its network
        return (networks.image_tower if kind == "image" else networks.text_tower)(network, spec, dtype)

    for kind in ("text",) if spec.family == "text" else ("image", "text"):
        exact = of_kind(kind, torch.float32)
        module = exact if precision == "fp32" else of_kind(kind, torch.float16)

        def run(items: np.ndarray, exact: torch.nn.Module = exact) -> np.ndarray:
            with torch.inference_mode():
                return np.asarray(exact(torch.from_numpy(items)).numpy())

        yield _Tower(kind, spec, module, run, facts)


def _export_as_files(tower: _Tower, target: Path, part: Path, format: str) -> ExportedTower:
    name = f"{Path(tower.spec.name).name}-{tower.kind}"
    file = part / f"{name}.{'onnx' if format == 'onnx' else 'xml'}"
    (_write_onnx if format == "onnx" else _write_openvino)(tower, file)
    cosine = _compare(tower, file)
    spec, facts = tower.spec, tower.facts
    takes = {"input": "int64[n, length]", "tokenizer": "a file beside the weights" if spec.text else TOKENIZER}
    if tower.kind == "image":
        size = spec.image_size
        takes = {"input": f"uint8[n, {size}, {size}, 3], RGB", "resize": "squashed" if spec.squash else RESIZE}
    write_json(part / f"{name}.json", {**facts, **takes, "embedding": f"float32[n, {spec.dim}], not normalised"})
    for written in part.iterdir():
        os.replace(written, target / written.name)
    return ExportedTower(tower.kind, target / file.name, cosine)


def _export_to_repository(tower: _Tower, target: Path, part: Path, backend: str) -> ExportedTower:
    from .triton_runtime import tower_name, tower_version

    name, version = tower_name(tower.spec, tower.kind), tower_version(**tower.facts)
    (part / version).mkdir()
    file = part / version / "model.onnx"
    _write_onnx(tower, file)
    cosine = _compare(tower, file)
    if backend == "python":
        shutil.copyfile(Path(__file__).with_name("triton_model.py"), part / version / "model.py")
    probe = base64.b64encode(tower.expected(tower.probe).astype("<f4").tobytes()).decode()
    config = _config(name, backend, tower, {**tower.facts, "probe": probe})
    (part / "config.pbtxt").write_text(config, encoding="utf-8")
    place = target / name
    shutil.rmtree(place, ignore_errors=True)  # remove other versions: a server prefers the largest number
    place.mkdir()
    for written in part.iterdir():
        os.replace(written, place / written.name)
    return ExportedTower(tower.kind, place / version / file.name, cosine)


def _config(name: str, backend: str, tower: _Tower, parameters: Mapping[str, str]) -> str:
    """Return config.pbtxt: the text form of `ModelConfig` in Triton's model_config.proto."""
    from .triton_runtime import DATATYPES, INPUT, OUTPUT

    size, datatype = tower.spec.image_size, DATATYPES[tower.kind]
    dims = f"{size}, {size}, 3" if tower.kind == "image" else "-1"
    lines = [
        f"name: {json.dumps(name)}",
        f'backend: "{backend}"',
        f"max_batch_size: {_LARGEST_BATCH}",
        f'input [ {{ name: "{INPUT}", data_type: TYPE_{datatype}, dims: [ {dims} ] }} ]',
        f'output [ {{ name: "{OUTPUT}", data_type: TYPE_FP32, dims: [ {tower.spec.dim} ] }} ]',
        "dynamic_batching { }",
    ]
    for key, value in parameters.items():
        lines.append(f"parameters {{ key: {json.dumps(key)}, value: {{ string_value: {json.dumps(value)} }} }}")
    return "\n".join(lines) + "\n"


def _write_onnx(tower: _Tower, file: Path) -> None:
    import torch

    size = sum(tensor.numel() * tensor.element_size() for tensor in tower.module.state_dict().values())
    if size >= _LARGEST_ONNX:
        raise ModelError(f"{tower.spec.name} is too large for one ONNX file: use --precision fp16 or --format openvino")
    axes = {"input": {0: "n"} if tower.kind == "image" else {0: "n", 1: "length"}, "embedding": {0: "n"}}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # torch deprecates tracing, but its newer exporter also needs onnxscript
        torch.onnx.export(
            tower.module, (torch.from_numpy(tower.probe),), str(file), dynamo=False, opset_version=_OPSET,
            input_names=["input"], output_names=["embedding"], dynamic_axes=axes,
        )  # fmt: skip


def _write_openvino(tower: _Tower, file: Path) -> None:
    import torch

    from .openvino_tower import from_torch, openvino

    with torch.inference_mode():
        model = from_torch(tower.module, torch.from_numpy(tower.probe))
    openvino.save_model(model, file, compress_to_fp16=False)


def _compare(tower: _Tower, file: Path) -> float:
    """Compare a file's output with PyTorch's for several batch sizes and text lengths; return the lowest cosine.

    Raises:
        ModelError: they disagree.
    """
    probe, run = tower.probe, _load(file)
    inputs = [probe, probe[:1], np.repeat(probe, 3, axis=0)[:5]]
    if tower.kind == "text" and tower.spec.family != "siglip":  # SigLIP reads one length only
        filler = tower.spec.text.padding if tower.spec.text else 0
        inputs.append(np.pad(probe, ((0, 0), (0, 5)), constant_values=filler))
    cosine = min(least_cosine(run(items), tower.expected(items)) for items in inputs)
    if cosine < _LEAST_COSINE[tower.facts["precision"]]:
        raise ModelError(
            f"{tower.spec.name}: the exported {tower.kind} tower and PyTorch disagree (cosine {cosine:.4f})"
        )
    return cosine


def _load(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Load an ONNX file with ONNX Runtime if that is installed, and any other file with OpenVINO."""
    if file.suffix == ".onnx" and importlib.util.find_spec("onnxruntime"):
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return lambda items: np.asarray(session.run(None, {"input": items})[0])
    from .openvino_tower import openvino

    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda items: np.array(compiled(items)[0])
