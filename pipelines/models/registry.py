"""The models this project knows: their sizes, where their weights come from, under which licence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

# Mean and standard deviation of the pictures CLIP was trained on, RGB, for values in 0..1.
# Source: `_transform` in clip/clip.py of github.com/openai/CLIP.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Architecture:
    """Sizes of a `towhee.models.clip.CLIP`.

    `vision_layers` is the number of transformer layers of a ViT, or the four stage depths of a ResNet.
    """

    embed_dim: int
    image_resolution: int
    vision_layers: int | tuple[int, int, int, int]
    vision_width: int
    vision_patch_size: int | None
    transformer_width: int
    transformer_heads: int
    transformer_layers: int
    context_length: int = 77
    vocab_size: int = 49408


@dataclass(frozen=True)
class Weights:
    """A weights file: shipped with the package (`path`) or fetched once from `url` and checked by SHA-256."""

    file: str
    url: str = ""
    sha256: str = ""
    path: Path | None = None


@dataclass(frozen=True)
class ModelSpec:
    """One row of the registry."""

    name: str
    architecture: Architecture
    weights: Weights
    licence: str
    note: str = ""
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    @property
    def dim(self) -> int:
        """Dimension of the embeddings."""
        return self.architecture.embed_dim

    @property
    def image_size(self) -> int:
        """Edge of the square input picture, in pixels."""
        return self.architecture.image_resolution


def _vit(embed_dim: int, resolution: int, patch: int, width: int, layers: int, text_width: int) -> Architecture:
    """A ViT as OpenAI released them: 12 text layers, heads of 64 dimensions."""
    return Architecture(
        embed_dim=embed_dim,
        image_resolution=resolution,
        vision_layers=layers,
        vision_width=width,
        vision_patch_size=patch,
        transformer_width=text_width,
        transformer_heads=text_width // 64,
        transformer_layers=12,
    )


def _openai(name: str, file: str, sha256: str, architecture: Architecture) -> ModelSpec:
    # OpenAI's bucket names the folder by the file's SHA-256 (`_MODELS` in clip/clip.py of github.com/openai/CLIP).
    url = f"https://openaipublic.azureedge.net/clip/models/{sha256}/{file}"
    return ModelSpec(name, architecture, Weights(file, url, sha256), licence="MIT")


BUILTIN = ModelSpec(
    name="builtin",
    architecture=Architecture(
        embed_dim=256,
        image_resolution=64,
        vision_layers=(2, 2, 2, 2),
        vision_width=32,
        vision_patch_size=None,
        transformer_width=256,
        transformer_heads=4,
        transformer_layers=4,
    ),
    weights=Weights("builtin.safetensors", path=Path(__file__).with_name("builtin.safetensors")),
    licence="Apache-2.0 (trained on research data sets, see models/BUILTIN.md)",
    note="small demo model, shipped with the package; finds everyday things, not fine detail",
)

_MODELS = (
    BUILTIN,
    _openai(
        "clip_vit_base_patch32",
        "ViT-B-32.pt",
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        _vit(embed_dim=512, resolution=224, patch=32, width=768, layers=12, text_width=512),
    ),
    _openai(
        "clip_vit_base_patch16",
        "ViT-B-16.pt",
        "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
        _vit(embed_dim=512, resolution=224, patch=16, width=768, layers=12, text_width=512),
    ),
    _openai(
        "clip_vit_large_patch14",
        "ViT-L-14.pt",
        "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
        _vit(embed_dim=768, resolution=224, patch=14, width=1024, layers=24, text_width=768),
    ),
    _openai(
        "clip_vit_large_patch14_336",
        "ViT-L-14-336px.pt",
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        _vit(embed_dim=768, resolution=336, patch=14, width=1024, layers=24, text_width=768),
    ),
)


def list_models() -> tuple[ModelSpec, ...]:
    """All models, `builtin` first."""
    return _MODELS


def get_model(name: str) -> ModelSpec:
    """Looks a model up by name.

    Raises:
        InputError: no such model; the message lists the known ones.
    """
    for spec in _MODELS:
        if spec.name == name:
            return spec
    known = ", ".join(spec.name for spec in _MODELS)
    raise InputError(f"there is no model named '{name}'; known models: {known}")
