"""The registry: every model can be built and agrees with its reference."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pipelines.errors import InputError
from pipelines.models.networks import empty_network, image_tower
from pipelines.models.registry import get_model, list_models
from pipelines.models.spec import CLIP_MEAN, CLIP_STD, ModelSpec
from pipelines.models.text_models import list_text_models

# Our name → architecture and weights as open_clip names them.
OPEN_CLIP = {
    "clip_vit_base_patch32": ("ViT-B-32", "openai"),
    "clip_vit_base_patch16": ("ViT-B-16", "openai"),
    "clip_vit_large_patch14": ("ViT-L-14", "openai"),
    "clip_vit_large_patch14_336": ("ViT-L-14-336", "openai"),
    "clip_vit_base_patch32_laion2b": ("ViT-B-32", "laion2b_s34b_b79k"),
    "clip_vit_base_patch16_laion2b": ("ViT-B-16", "laion2b_s34b_b88k"),
    "clip_vit_base_patch32_datacomp": ("ViT-B-32", "datacomp_xl_s13b_b90k"),
    "clip_vit_base_patch16_datacomp": ("ViT-B-16", "datacomp_xl_s13b_b90k"),
    "clip_vit_large_patch14_laion2b": ("ViT-L-14", "laion2b_s32b_b82k"),
    "clip_resnet_r50": ("RN50", "openai"),
    "clip_resnet_r101": ("RN101", "openai"),
    "clip_resnet_r50x4": ("RN50x4", "openai"),
    "clip_resnet_r50x16": ("RN50x16", "openai"),
    "clip_resnet_r50x64": ("RN50x64", "openai"),
}
# `test_families` and `test_hub_config` compare these with their originals.
BEYOND_CLIP = {
    "xlm-roberta-base-ViT-B-32", "siglip2-base-patch32-256", "siglip2-base-patch16-224", "siglip2-base-patch16-256",
    "siglip2-base-patch16-384", "chinese-clip-vit-base-patch16", "PE-Core-S-16-384",
}  # fmt: skip
# Their commits and SHA-256 are not published as text, so the first download records the commit.
UNPINNED = {*BEYOND_CLIP, "clip_vit_large_patch14_laion2b"}


def test_the_registry_has_the_models_that_people_have() -> None:
    assert {spec.name for spec in list_models()} == {"builtin", *OPEN_CLIP, *BEYOND_CLIP}


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("name", OPEN_CLIP)
def test_sizes_activation_source_mean_and_deviation_are_those_of_open_clip(name: str) -> None:
    import open_clip

    spec, (architecture, model_id) = get_model(name), OPEN_CLIP[name]
    config = open_clip.get_model_config(architecture)
    vision, text, ours = config["vision_cfg"], config["text_cfg"], spec.architecture
    layers = tuple(vision["layers"]) if isinstance(vision["layers"], list) else vision["layers"]
    assert (ours.embed_dim, ours.image_resolution) == (config["embed_dim"], vision["image_size"])
    assert (ours.vision_layers, ours.vision_width, ours.vision_patch_size) == (
        layers, vision["width"], vision.get("patch_size"),
    )  # fmt: skip
    assert (ours.context_length, ours.vocab_size) == (text["context_length"], text["vocab_size"])
    assert (ours.transformer_width, ours.transformer_heads, ours.transformer_layers) == (
        text["width"], text["heads"], text["layers"],
    )  # fmt: skip
    published = open_clip.get_pretrained_cfg(architecture, model_id)
    assert spec.mean == tuple(published.get("mean") or CLIP_MEAN)
    assert spec.std == tuple(published.get("std") or CLIP_STD)
    assert spec.activation == ("quick_gelu" if published.get("quick_gelu") else "gelu")
    if published.get("hf_hub") and model_id != "openai":
        assert spec.weights.repository == published["hf_hub"].rstrip("/")


@pytest.mark.parametrize("spec", [*map(get_model, OPEN_CLIP)], ids=lambda spec: spec.name)
def test_every_model_can_be_built(spec: ModelSpec) -> None:
    with torch.device("meta"):  # the large ones would take gigabytes of memory
        network = empty_network(spec)
    assert network.text_projection.shape == (spec.architecture.transformer_width, spec.dim)
    activation = type(network.transformer.resblocks[0].mlp.gelu).__name__
    assert activation == ("GELU" if spec.activation == "gelu" else "QuickGELU")


@pytest.mark.parametrize("spec", list_models()[1:], ids=lambda spec: spec.name)
def test_every_download_is_pinned_or_known_to_be_not(spec: ModelSpec) -> None:
    weights = spec.weights
    assert weights.path is None
    if spec.name in UNPINNED:
        assert (weights.sha256, weights.revision) == ("", "")
        return
    assert re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", weights.revision)
    assert f"/{weights.revision}/" in weights.source
    # The SHA-256 of this one is not published; all other files are verified.
    assert re.fullmatch(r"[0-9a-f]{64}", weights.sha256) or spec.name == "clip_vit_base_patch16_laion2b"
    assert spec.quality is not None


def test_no_two_models_share_a_name_a_file_or_a_hash() -> None:
    specs = list_models()
    for values in ([s.name for s in specs], [s.weights.file for s in specs], [s.weights.source for s in specs]):
        assert len(set(values)) == len(specs)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("clip_vit_b32", "clip_vit_base_patch32"),
        ("ViT-B-32", "clip_vit_base_patch32"),
        ("clip_vit_large_14", "clip_vit_large_patch14"),
        ("RN50", "clip_resnet_r50"),
        ("build-in", "builtin"),
    ],
)
def test_an_unknown_model_is_refused_with_the_most_similar_name(wrong: str, right: str) -> None:
    with pytest.raises(InputError) as caught:
        get_model(wrong)
    assert str(caught.value) == (
        f"there is no model named '{wrong}'; did you mean {right}? `image-search models` lists all"
    )


def test_an_unknown_model_that_resembles_none_is_refused() -> None:
    with pytest.raises(InputError, match=r"^there is no model named 'xyz'; `image-search models` lists all$"):
        get_model("xyz")


def test_a_folder_that_is_named_like_a_model_is_pointed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"for the folder here: --model \./mine; `image-search models` lists all$"):
        get_model("mine")


def test_a_model_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        list_models()[0].name = "other"  # type: ignore[misc]


@pytest.mark.long
@pytest.mark.parametrize("spec", [*list_models(), *list_text_models()], ids=lambda spec: spec.name)
def test_cost_and_download_are_those_of_the_network(spec: ModelSpec) -> None:
    with torch.device("meta"):
        network = empty_network(spec)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        if spec.family != "text":
            image = torch.zeros(1, spec.image_size, spec.image_size, 3, dtype=torch.uint8)
            tower = image_tower(network, spec)
            with FlopCounterMode(display=False) as counter:
                tower(image)
            assert spec.gflops == pytest.approx(counter.get_total_flops() / 1e9, abs=0.06)
    if spec.weights.path:  # shipped
        return
    sizes = spec.architecture
    in_float32 = sizes.vocab_size * sizes.transformer_width if spec.weights.url else parameters
    assert spec.megabytes == pytest.approx((2 * parameters + 2 * in_float32) / 1e6, abs=2)


def test_the_models_command_prints_what_people_need_to_choose(quick_command: Callable, tmp_path) -> None:
    (tmp_path / "RN50.pt").write_bytes(b"weights")
    done = quick_command("models", env={"IMAGE_SEARCH_CACHE": str(tmp_path)})
    lines = done.out.splitlines()
    assert (done.status, done.err) == (0, "")
    specs = (*list_models(), *list_text_models())
    for spec in specs:
        (line,) = [line for line in lines if line.split()[:1] == [spec.name]]
        assert (spec.note or spec.fits[0]) in line
        assert str(spec.quality.coco if spec.quality else "shipped" if spec.weights.path else "missing") in line
        assert ("none" if spec.weights.path else f"{spec.megabytes:,} MB") in line
    assert str(tmp_path / "RN50.pt") in next(line for line in lines if line.startswith("clip_resnet_r50 "))
    order = [line.split()[0] for line in lines if line.split() and line.split()[0] in {spec.name for spec in specs}]
    assert order[:3] == ["builtin", "clip_vit_base_patch32_laion2b", "xlm-roberta-base-ViT-B-32"]
    rows = json.loads(quick_command("models", "--json").out)
    assert [row["name"] for row in rows] == order
    assert {row["name"] for row in rows if row["checked"] == "network"} >= UNPINNED
    assert {row["name"]: row["activation"] for row in rows}["clip_vit_base_patch32_laion2b"] == "gelu"
