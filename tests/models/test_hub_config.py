"""The files beside the weights decide: sizes, activation and preprocessing are read from them, never assumed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines import Searcher, Settings, run_insert
from pipelines.errors import ModelError, ModelMismatch
from pipelines.models.clip import ClipModel, load_model
from pipelines.models.hub_config import OPEN_CLIP, read_config
from pipelines.models.hub_models import read_any_folder
from pipelines.models.pytorch_runtime import PyTorchRuntime
from pipelines.models.registry import get_model
from pipelines.models.tokenizer import tokenize
from tests.models.test_towers import VIT77, hugging_face, normalised
from tests.support.models import IMAGES, TEXTS, save, spec_of
from tests.support.photos import Photos

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def clip_folder(tmp_path: Path, torchvision: None) -> Callable[..., Path]:
    """Return a function that writes a small CLIP as transformers does, with this activation."""

    def write(activation: str = "gelu", name: str = "clip") -> Path:
        hugging_face(VIT77, activation).save_pretrained(tmp_path / name)
        return tmp_path / name

    return write


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu", "gelu_pytorch_tanh"])
def test_the_activation_of_a_folder_is_the_one_that_its_config_names(
    activation: str, clip_folder: Callable[..., Path]
) -> None:
    spec = read_any_folder(clip_folder(activation))
    assert spec.architecture == VIT77
    assert spec.name == str(clip_folder(activation))
    reference = hugging_face(VIT77, activation)
    with torch.inference_mode():
        theirs = reference.get_image_features(normalised(spec, IMAGES)).pooler_output.numpy()
        texts = reference.get_text_features(torch.from_numpy(tokenize(TEXTS))).pooler_output.numpy()
    assert spec.weights.path is not None
    ours = PyTorchRuntime(spec, spec.weights.path, "cpu", "fp32")
    np.testing.assert_allclose(ours.embed_images(IMAGES), theirs, atol=1e-4)
    np.testing.assert_allclose(ours.embed_texts(tokenize(TEXTS)), texts, atol=1e-4)


def test_weights_whose_config_names_another_activation_are_refused_by_both_names(
    clip_folder: Callable[..., Path],
) -> None:
    weights = clip_folder("gelu") / "model.safetensors"
    with pytest.raises(ModelError) as caught:
        ClipModel(spec_of(VIT77), str(weights), "cpu", "pytorch")
    assert f"{weights.with_name('config.json')} says activation gelu, and tiny has quick_gelu: " in str(caught.value)
    assert ClipModel(spec_of(VIT77, activation="gelu"), str(weights), "cpu", "pytorch")


def test_weights_of_other_sizes_are_refused_by_both_sizes(clip_folder: Callable[..., Path]) -> None:
    deeper = spec_of(dataclasses.replace(VIT77, vision_layers=3), activation="gelu")
    with pytest.raises(ModelError, match=r"config\.json says vision_layers 2, and tiny has 3: "):
        ClipModel(deeper, str(clip_folder() / "model.safetensors"), "cpu", "pytorch")


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("beside", [None, '{"name": "of something else"}', '["a list"]'])
def test_the_activation_is_named_where_nothing_beside_the_weights_says_it(
    beside: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = save(hugging_face(VIT77, "quick_gelu"), tmp_path / "weights.safetensors")
    if beside:
        (tmp_path / "config.json").write_text(beside)
    ClipModel(spec_of(VIT77), weights, "cpu", "pytorch")
    expected = f"nothing beside {weights} says its activation: quick_gelu is taken, as tiny has it\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "siglip2"}, "holds no model.json"),
        ({"vision_config": {"hidden_act": "relu"}}, "hidden_act is relu, not one of quick_gelu, gelu"),
        ({"vision_config": {"hidden_act": "gelu"}}, "hidden_act is quick_gelu for texts and gelu for images"),
        ({"vision_config": "none"}, "describes no model that this program knows: "),
    ],
)
def test_a_config_that_describes_what_no_family_can_do_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip", **change}))
    with pytest.raises(ModelError) as caught:
        read_any_folder(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights_names_those_that_it_could_hold(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(ModelError, match=r"holds no weights: none of model\.safetensors, pytorch_model\.bin$"):
        read_any_folder(tmp_path)


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize(
    ("name", "config", "pretrained"),
    [
        ("clip_vit_base_patch32", "ViT-B-32", "openai"),
        ("clip_vit_base_patch32_laion2b", "ViT-B-32", "laion2b_s34b_b79k"),
        ("clip_vit_large_patch14_laion2b", "ViT-L-14", "laion2b_s32b_b82k"),
        ("clip_resnet_r50x4", "RN50x4", "openai"),
        ("xlm-roberta-base-ViT-B-32", "xlm-roberta-base-ViT-B-32", "laion5b_s13b_b90k"),
        ("PE-Core-S-16-384", "PE-Core-S-16-384", "meta"),
        ("siglip2-base-patch32-256", "ViT-B-32-SigLIP2-256", "webli"),
        ("siglip2-base-patch16-384", "ViT-B-16-SigLIP2-384", "webli"),
    ],
)
def test_open_clips_own_configs_describe_the_registered_models(
    name: str, config: str, pretrained: str, tmp_path: Path
) -> None:
    from open_clip import get_model_config, get_pretrained_cfg

    published = get_pretrained_cfg(config, pretrained)
    model = {**get_model_config(config), "quick_gelu": bool(published.get("quick_gelu"))}
    (tmp_path / OPEN_CLIP).write_text(json.dumps({"model_cfg": model, "preprocess_cfg": published}))
    found, spec = read_config(tmp_path), get_model(name)
    assert found is not None
    if spec.family == "siglip":  # open_clip resizes with another filter than the publisher, and cleans texts more
        found.values.update(bilinear=True, cleaning="lower")
    assert {key: getattr(spec, key) for key in found.values} == found.values


@pytest.mark.long
def test_a_folder_of_the_hub_is_indexed_and_searched_and_remembers_its_config(
    clip_folder: Callable[..., Path], photos: Photos, lite: Settings
) -> None:
    folder = clip_folder("gelu")
    settings = dataclasses.replace(lite, model=str(folder))
    assert run_insert(photos.csv, settings, rejects=str(folder / "rejected.csv")).inserted == 12
    with Searcher(dataclasses.replace(settings, model="")) as searcher:
        assert len(searcher.by_text("a dog", 2).hits) == 2
        assert searcher.info().model.startswith(f"{folder}@")
    config = json.loads((folder / "config.json").read_text())
    for tower in ("text_config", "vision_config"):
        config[tower]["hidden_act"] = "quick_gelu"
    (folder / "config.json").write_text(json.dumps(config))
    load_model.cache_clear()  # as in another process
    with Searcher(settings) as searcher, pytest.raises(ModelMismatch, match="was made by"):
        searcher.by_text("a dog")
