"""Embeddings equal those of the originals' own code (transformers, open_clip, Towhee), given the same weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.models.architecture import Architecture
from pipelines.models.pytorch_runtime import PyTorchRuntime
from pipelines.models.registry import get_model
from pipelines.models.spec import ModelSpec
from pipelines.models.tokenizer import tokenize
from tests.support.images import photograph
from tests.support.models import IMAGES, RESNET, TEXTS, VIT, cosines, random_network, save, spec_of
from tests.support.program import run_code

VIT77, RESNET77 = (dataclasses.replace(sizes, context_length=77) for sizes in (VIT, RESNET))


def normalised(spec: ModelSpec, images: np.ndarray) -> torch.Tensor:
    """Return uint8[n, s, s, 3] as the references' own preprocessing hands it to the network."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    return (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std


def assert_equal(
    spec: ModelSpec, weights: str, images: np.ndarray, embeddings: torch.Tensor, texts: torch.Tensor
) -> None:
    """Check that PyTorch's unit vectors in float32 are within 1e-5 of the reference's in every element."""
    model = PyTorchRuntime(spec, Path(weights), "cpu", "fp32")
    tokens = tokenize(TEXTS, spec.architecture.context_length)
    for ours, theirs in ((model.embed_images(images), embeddings.numpy()), (model.embed_texts(tokens), texts.numpy())):
        assert cosines(ours, theirs).min() >= 0.99999
        unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (ours, theirs)]
        np.testing.assert_allclose(*unit, atol=1e-5, rtol=0)
        assert cosines(theirs[:1], theirs[1:2])[0] < 0.9999, "all look alike: this test would see nothing"


def hugging_face(architecture: Architecture, activation: str) -> torch.nn.Module:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(4)
    text = {
        "hidden_size": architecture.transformer_width, "intermediate_size": 4 * architecture.transformer_width,
        "num_hidden_layers": architecture.transformer_layers, "num_attention_heads": architecture.transformer_heads,
        "hidden_act": activation, "projection_dim": architecture.embed_dim, "eos_token_id": 49407,
    }  # fmt: skip
    vision = {
        "hidden_size": architecture.vision_width, "intermediate_size": 4 * architecture.vision_width,
        "num_hidden_layers": architecture.vision_layers, "num_attention_heads": architecture.vision_width // 64,
        "image_size": architecture.image_resolution, "patch_size": architecture.vision_patch_size,
        "hidden_act": activation, "projection_dim": architecture.embed_dim,
    }  # fmt: skip
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=architecture.embed_dim)).eval()
    for name, tensor in model.state_dict().items():  # large enough to expose a wrong name, order or activation
        if tensor.dim() >= 1:
            torch.nn.init.normal_(tensor, mean=float("norm" in name and "weight" in name), std=0.15)
    return model


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_a_vit_equals_hugging_faces(activation: str, tmp_path: Path) -> None:
    reference, spec = hugging_face(VIT77, activation), spec_of(VIT77, activation=activation)
    with torch.inference_mode():
        embeddings = reference.get_image_features(normalised(spec, IMAGES)).pooler_output
        texts = reference.get_text_features(torch.from_numpy(tokenize(TEXTS))).pooler_output
    assert_equal(spec, save(reference, tmp_path / "model.safetensors"), IMAGES, embeddings, texts)


def open_clip_model(architecture: Architecture, activation: str) -> torch.nn.Module:
    from open_clip.model import CLIP

    torch.manual_seed(5)
    vision = {
        "image_size": architecture.image_resolution, "layers": architecture.vision_layers,
        "width": architecture.vision_width, "patch_size": architecture.vision_patch_size,
    }  # fmt: skip
    text = {
        "width": architecture.transformer_width, "heads": architecture.transformer_heads,
        "layers": architecture.transformer_layers,
    }  # fmt: skip
    model = CLIP(architecture.embed_dim, vision, text, quick_gelu=activation == "quick_gelu").eval()
    for name, tensor in model.state_dict().items():
        if tensor.dim() == 4 or "bn3.weight" in name or "running_mean" in name or "bias" in name:
            torch.nn.init.normal_(tensor, std=0.2)
    return model


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("architecture", [VIT77, RESNET77], ids=["vit", "resnet"])
def test_a_model_equals_open_clips(architecture: Architecture, activation: str, tmp_path: Path) -> None:
    reference, spec = open_clip_model(architecture, activation), spec_of(architecture, activation=activation)
    with torch.inference_mode():
        embeddings = reference.encode_image(normalised(spec, IMAGES))
        texts = reference.encode_text(torch.from_numpy(tokenize(TEXTS)))
    assert_equal(spec, save(reference, tmp_path / "open_clip_model.safetensors"), IMAGES, embeddings, texts)


@pytest.mark.parametrize("architecture", [VIT, RESNET], ids=["vit", "resnet"])
def test_a_model_equals_towhees(architecture: Architecture, tmp_path: Path) -> None:
    network, spec = random_network(architecture), spec_of(architecture)
    with torch.inference_mode():
        embeddings = network.encode_image(normalised(spec, IMAGES))
        texts = network.encode_text(torch.from_numpy(tokenize(TEXTS, architecture.context_length)), device="cpu")
    assert_equal(spec, save(network, tmp_path / "model.safetensors"), IMAGES, embeddings, texts)


@pytest.mark.slow
@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("name", ["clip_vit_base_patch32", "clip_resnet_r50"])
def test_a_model_of_full_size_equals_open_clips(name: str, tmp_path: Path) -> None:
    spec = get_model(name)
    reference = open_clip_model(spec.architecture, spec.activation)
    images = np.stack([np.array(photograph(224, 224, seed)) for seed in range(2)])
    with torch.inference_mode():
        embeddings = reference.encode_image(normalised(spec, images))
        texts = reference.encode_text(torch.from_numpy(tokenize(TEXTS)))
    assert_equal(spec, save(reference, tmp_path / "open_clip_model.safetensors"), images, embeddings, texts)


@pytest.mark.usefixtures("torchvision")
def test_the_wrong_activation_would_be_noticed(tmp_path: Path) -> None:
    """The tests above rest on this: the two activations differ by more than those tests allow."""
    weights = save(hugging_face(VIT77, "gelu"), tmp_path / "model.safetensors")
    exact, quick = (
        PyTorchRuntime(spec_of(VIT77, activation=kind), Path(weights), "cpu", "fp32") for kind in ("gelu", "quick_gelu")
    )
    assert cosines(exact.embed_images(IMAGES), quick.embed_images(IMAGES)).max() < 0.99999
    assert cosines(exact.embed_texts(tokenize(TEXTS)), quick.embed_texts(tokenize(TEXTS))).max() < 0.99999


def test_no_network_is_built_by_torchs_compiler() -> None:
    """Importing it takes seconds, in the first run of each model."""
    done = run_code(
        "import sys; from pipelines.models import networks, registry\n"
        "for name in sys.argv[1:]: networks._shapes(registry.get_model(name))\n"
        "print('torch._dynamo' in sys.modules)",
        "builtin", "clip_vit_base_patch32", timeout=240,
    )  # fmt: skip
    assert done.out == "False\n"
