"""Exported models: the files compute what PyTorch computes, in any runtime, and say which model they are."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines import Settings
from pipelines.errors import InputError, ModelError
from pipelines.models import export
from pipelines.models.architecture import Architecture
from pipelines.models.clip import load_model
from pipelines.models.export import export_model
from pipelines.models.openvino_tower import openvino
from tests.support.families import Original, chinese_clip, siglip
from tests.support.models import (
    IMAGES,
    RESNET,
    VIT,
    cosines,
    random_network,
    spec_of,
    write_model_folder,
    write_turned_builtin,
)
from tests.support.program import CommandResult

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def _onnx() -> None:
    pytest.importorskip("onnx", reason="the package onnx is not here: make .venv/installed-dev")


def run(file: Path, items: np.ndarray) -> np.ndarray:
    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled({"input": items} if file.suffix == ".onnx" else items)[0])


@pytest.mark.parametrize(("architecture", "form"), [(VIT, "onnx"), (RESNET, "openvino")], ids=["onnx", "openvino"])
def test_both_towers_compute_what_pytorch_does_for_any_batch(
    architecture: Architecture, form: str, tmp_path: Path
) -> None:
    folder = write_model_folder(tmp_path / "tiny", spec_of(architecture), random_network(architecture))
    image, text = export_model(Settings(model=folder), tmp_path / "out", form)
    assert min(image.cosine, text.cosine) > 0.9999
    exact = load_model(folder, "", "cpu", "pytorch", 0, "fp32")
    for images in (IMAGES, IMAGES[:1], np.repeat(IMAGES, 3, axis=0)):
        assert cosines(run(image.path, images), exact.embed_images(images)).min() > 0.9999
    tokens = np.array([[49406, 320, 49407], [49406, 49407, 0]])  # shorter than those of the export
    assert cosines(run(text.path, tokens), exact.runtime.embed_texts(tokens)).min() > 0.9999
    told = json.loads((tmp_path / "out" / "tiny-image.json").read_text())
    assert (told["model_id"], told["input"]) == (exact.model_id, "uint8[n, 32, 32, 3], RGB")
    assert not [file for file in (tmp_path / "out").iterdir() if file.name.startswith(".")]


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("family", [siglip, chinese_clip])
def test_other_families_are_exported(family: Callable[[Path], Original], tmp_path: Path) -> None:
    (tmp_path / "original").mkdir()
    towers = export_model(Settings(model=family(tmp_path / "original").spec.name), tmp_path / "out", "onnx")
    assert min(tower.cosine for tower in towers) > 0.9999


def test_half_precision_is_half_the_size_and_says_so(tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "tiny", spec_of(VIT), random_network(VIT))
    full, _ = export_model(Settings(model=folder), tmp_path / "full")
    half, _ = export_model(Settings(model=folder, precision="fp16"), tmp_path / "half")
    assert half.path.stat().st_size < 0.6 * full.path.stat().st_size
    assert json.loads((tmp_path / "half" / "tiny-text.json").read_text())["precision"] == "fp16"


def test_a_repository_holds_one_version_of_a_tower_whose_number_is_the_models(tmp_path: Path) -> None:
    place = write_model_folder(tmp_path / "tiny", spec_of(VIT), random_network(VIT))
    first = export_model(Settings(model=place), tmp_path / "repository", "triton", "python")
    assert sorted(file.name for file in first[0].path.parent.iterdir()) == ["model.onnx", "model.py"]
    config = (tmp_path / "repository" / "tiny-image" / "config.pbtxt").read_text()
    assert 'backend: "python"' in config
    assert f'string_value: "{load_model(place).model_id}"' in config
    load_model.cache_clear()
    write_model_folder(tmp_path / "tiny", spec_of(VIT), random_network(VIT, seed=9))
    second = export_model(Settings(model=place), tmp_path / "repository", "triton")
    assert [file.name for file in second[1].path.parent.iterdir()] == ["model.onnx"]
    assert second[1].path.parent != first[1].path.parent
    assert not first[1].path.exists()
    assert 'backend: "onnxruntime"' in (tmp_path / "repository" / "tiny-text" / "config.pbtxt").read_text()


def test_a_file_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    places = [write_turned_builtin(tmp_path / f"turned-{turns}", turns) for turns in (1, 2)]
    _, text = export_model(Settings(model=places[0]), tmp_path / "out", "openvino")
    _, other = export._towers(Settings(model=places[1]))
    with pytest.raises(ModelError, match="the exported text tower and PyTorch disagree"):
        export._compare(other, text.path)


def test_what_cannot_be_exported_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(model="builtin")
    with pytest.raises(InputError, match="there is no format 'tflite'; there are onnx, openvino, triton"):
        export_model(settings, tmp_path, "tflite")
    with pytest.raises(InputError, match="there is no backend 'tensorrt'"):
        export_model(settings, tmp_path, "triton", "tensorrt")
    with pytest.raises(InputError, match="exported in fp32 or fp16, not in int8"):
        export_model(Settings(model="builtin", precision="int8"), tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="--format onnx needs one more package: pip install onnx"):
        export_model(settings, tmp_path)


def test_the_command_prints_both_towers(quick_command: Callable[..., CommandResult], tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "tiny", spec_of(VIT), random_network(VIT))
    done = quick_command("export-model", tmp_path / "out", "--model", folder, "--format", "openvino")
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith(f"image tower: {tmp_path / 'out' / 'tiny-image.xml'}, ")
    assert lines[1].endswith("cosine to PyTorch at least 1.000000")
