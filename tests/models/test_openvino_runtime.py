"""OpenVINO: it agrees with PyTorch for every kind of model, and towers are converted once and verified."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import ModelError
from pipelines.models import openvino_tower
from pipelines.models.architecture import Architecture
from pipelines.models.fingerprint import fingerprint
from pipelines.models.openvino_runtime import OpenVinoRuntime
from pipelines.models.pytorch_runtime import PyTorchRuntime
from pipelines.models.spec import ModelSpec
from pipelines.models.tokenizer import tokenize
from tests.support.models import IMAGES, RESNET, TEXTS, VIT, cosines, random_network, save, spec_of


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IMAGE_SEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "converted"


def open_vino(spec: ModelSpec, path: str) -> OpenVinoRuntime:
    return OpenVinoRuntime(spec, Path(path), fingerprint(Path(path)))


@pytest.mark.long
@pytest.mark.parametrize("architecture", [VIT, RESNET], ids=["vit", "resnet"])
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_openvino_agrees_for_every_family(
    architecture: Architecture, activation: str, tmp_path: Path, cache: Path
) -> None:
    spec = spec_of(architecture, activation=activation)
    path = save(random_network(architecture), tmp_path / "w.safetensors")
    ours, exact = open_vino(spec, path), PyTorchRuntime(spec, Path(path), "cpu", "fp32")
    tokens = tokenize(TEXTS, architecture.context_length)
    assert cosines(ours.embed_images(IMAGES), exact.embed_images(IMAGES)).min() >= 0.999
    assert cosines(ours.embed_texts(tokens), exact.embed_texts(tokens)).min() >= 0.999


@pytest.mark.long
def test_both_towers_are_converted_once_for_their_weights_and_versions(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, path = spec_of(VIT), save(random_network(VIT), tmp_path / "w.safetensors")
    first = open_vino(spec, path).embed_texts(tokenize(["a dog"], 20))
    times = {file: file.stat().st_mtime_ns for file in cache.iterdir()}
    assert sorted(file.suffix for file in times) == [".bin", ".bin", ".npy", ".npy", ".xml", ".xml"]
    monkeypatch.setattr(openvino_tower, "build", None)  # PyTorch is not needed again
    np.testing.assert_array_equal(open_vino(spec, path).embed_texts(tokenize(["a dog"], 20)), first)
    monkeypatch.undo()
    monkeypatch.setenv("IMAGE_SEARCH_CACHE", str(cache.parent))
    open_vino(dataclasses.replace(spec, activation="gelu"), path).embed_texts(tokenize(["a dog"], 20))
    other = save(random_network(VIT, seed=9), tmp_path / "other.safetensors")
    open_vino(spec, other).embed_texts(tokenize(["a dog"], 20))
    monkeypatch.setattr(openvino_tower.openvino, "__version__", "2099.1")
    open_vino(spec, path).embed_texts(tokenize(["a dog"], 20))
    assert len(list(cache.glob("*.xml"))) == 8
    assert {file: file.stat().st_mtime_ns for file in times} == times


@pytest.mark.long
@pytest.mark.parametrize("damage", ["xml cut", "bin cut", "bin flipped", "npy cut", "bin gone"])
def test_a_damaged_conversion_is_made_again(damage: str, tmp_path: Path, cache: Path) -> None:
    spec, path = spec_of(VIT), save(random_network(VIT), tmp_path / "w.safetensors")
    expected = open_vino(spec, path).embed_texts(tokenize(TEXTS, 20))
    suffix, how = damage.split()
    (file,) = cache.glob(f"*-text-*.{suffix}")
    content = file.read_bytes()
    if how == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        file.write_bytes(bytes(255 - byte for byte in content))
    else:
        file.unlink()
    again = open_vino(spec, path).embed_texts(tokenize(TEXTS, 20))
    np.testing.assert_allclose(again, expected, atol=1e-6)
    assert file.read_bytes() == content or suffix == "xml"


def test_a_wrong_file_is_refused_before_anything_is_embedded(tmp_path: Path, cache: Path) -> None:
    path = save(random_network(VIT), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="does not hold tiny"):
        open_vino(spec_of(RESNET), path)
    assert not cache.exists()


@pytest.mark.long
def test_the_text_tower_is_compiled_once_for_all_starts(tmp_path: Path, cache: Path) -> None:
    spec, path = spec_of(VIT), save(random_network(VIT), tmp_path / "w.safetensors")
    tokens = tokenize(TEXTS, 20)
    expected = open_vino(spec, path).embed_texts(tokens)
    (kept,) = (cache.parent / "compiled").iterdir()
    assert kept.stat().st_size < 1 << 20  # it holds no weights
    for damaged in (b"", kept.read_bytes()[:1000], bytes(255 - byte for byte in kept.read_bytes())):
        again = open_vino(spec, path)
        again.prepare_texts()
        assert again.embed_texts._compiled.get_property("LOADED_FROM_CACHE")  # type: ignore[attr-defined]
        np.testing.assert_array_equal(again.embed_texts(tokens), expected)
        kept.chmod(0o600)
        kept.write_bytes(damaged)
        np.testing.assert_array_equal(open_vino(spec, path).embed_texts(tokens), expected)


@pytest.mark.long
def test_a_cache_that_takes_no_compiled_tower_does_not_matter(tmp_path: Path, cache: Path) -> None:
    spec, path = spec_of(VIT), save(random_network(VIT), tmp_path / "w.safetensors")
    expected = open_vino(spec, path).embed_texts(tokenize(TEXTS, 20))
    shutil.rmtree(cache.parent / "compiled")
    (cache.parent / "compiled").write_text("a file in the place of the folder")
    np.testing.assert_array_equal(open_vino(spec, path).embed_texts(tokenize(TEXTS, 20)), expected)
