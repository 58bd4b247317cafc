"""The models this project knows: their sizes, where their weights come from, under which licence, and how well
they find images.

Sizes: `model_configs/` of open_clip (github.com/mlfoundations/open_clip), which the tests compare.
Quality: `docs/openclip_retrieval_results.csv` of open_clip, columns "image retr. R@1" (an image found by its caption).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from ..errors import InputError
from .model_id import is_folder_name, resolve_name

# Mean and standard deviation of the images CLIP was trained on, RGB, for values in 0..1.
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
    """A weights file: shipped with the package (`path`), or fetched once from `url` and checked by `sha256`.

    `repository` and `revision` say where it is published; where no SHA-256 is published it is '' and only the
    revision pins the file.
    """

    file: str
    url: str = ""
    sha256: str = ""
    path: Path | None = None
    repository: str = ""
    revision: str = ""


class Quality(NamedTuple):
    """Text→image recall@1 in percent, zero-shot: Flickr30k (1,000 test images) and COCO (5,000)."""

    flickr: float
    coco: float


@dataclass(frozen=True)
class ModelSpec:
    """One row of the registry.

    `activation` is what a weights file cannot tell: OpenAI trained with QuickGELU (x·sigmoid(1.702x)), LAION and
    DataComp with the exact GELU. The wrong one still gives embeddings that look right, and finds less.
    """

    name: str
    architecture: Architecture
    weights: Weights
    licence: str
    quality: Quality | None = None
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"
    note: str = ""
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    @property
    def dim(self) -> int:
        """Dimension of the embeddings."""
        return self.architecture.embed_dim

    @property
    def image_size(self) -> int:
        """Edge of the square input image, in pixels."""
        return self.architecture.image_resolution


def _vit(patch: int, resolution: int = 224, large: bool = False) -> Architecture:
    """A ViT-B or ViT-L as OpenAI released them."""
    return Architecture(
        embed_dim=768 if large else 512,
        image_resolution=resolution,
        vision_layers=24 if large else 12,
        vision_width=1024 if large else 768,
        vision_patch_size=patch,
        transformer_width=768 if large else 512,
        transformer_heads=12 if large else 8,
        transformer_layers=12,
    )


def _resnet(
    embed_dim: int, resolution: int, depths: tuple[int, int, int, int], width: int, text_width: int = 512
) -> Architecture:
    """A ModifiedResNet as OpenAI released them; text heads have 64 dimensions."""
    return Architecture(
        embed_dim=embed_dim,
        image_resolution=resolution,
        vision_layers=depths,
        vision_width=width,
        vision_patch_size=None,
        transformer_width=text_width,
        transformer_heads=text_width // 64,
        transformer_layers=12,
    )


def _openai(name: str, file: str, sha256: str, quality: Quality, architecture: Architecture) -> ModelSpec:
    # OpenAI's bucket names the folder by the file's SHA-256 (`_MODELS` in clip/clip.py of github.com/openai/CLIP).
    url = f"https://openaipublic.azureedge.net/clip/models/{sha256}/{file}"
    weights = Weights(file, url, sha256, repository="openai/CLIP", revision=sha256)
    return ModelSpec(name, architecture, weights, licence="MIT", quality=quality)


def _open_clip(
    name: str, repository: str, file: str, revision: str, sha256: str, quality: Quality, architecture: Architecture
) -> ModelSpec:
    """Weights trained with open_clip, from Hugging Face; mean and deviation are OpenAI's there, too."""
    url = f"https://huggingface.co/{repository}/resolve/{revision}/{file}"
    weights = Weights(f"{name}.safetensors", url, sha256, repository=repository, revision=revision)
    return ModelSpec(name, architecture, weights, licence="MIT", quality=quality, activation="gelu")


BUILTIN = ModelSpec(
    name="builtin",
    architecture=Architecture(
        embed_dim=256,
        image_resolution=160,
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
        "clip_vit_base_patch32", "ViT-B-32.pt",
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        Quality(58.78, 30.44), _vit(32),
    ),
    _openai(
        "clip_vit_base_patch16", "ViT-B-16.pt",
        "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
        Quality(62.16, 33.09), _vit(16),
    ),
    _openai(
        "clip_vit_large_patch14", "ViT-L-14.pt",
        "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
        Quality(64.96, 36.51), _vit(14, large=True),
    ),
    _openai(
        "clip_vit_large_patch14_336", "ViT-L-14-336px.pt",
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        Quality(66.90, 37.09), _vit(14, resolution=336, large=True),
    ),
    _open_clip(
        "clip_vit_base_patch32_laion2b", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "open_clip_model.safetensors",
        "1a25a446712ba5ee05982a381eed697ef9b435cf",
        "ac4f8c4b88af6d963118cbf40ad93176d092abbedfcb752601ae1866352656e6",
        Quality(66.78, 39.34), _vit(32),
    ),
    _open_clip(
        "clip_vit_base_patch16_laion2b", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K", "open_clip_model.safetensors",
        "7288da5a0d6f0b51c4a2b27c624837a9236d0112",
        "",  # nobody has published it
        Quality(69.84, 42.31), _vit(16),
    ),
    _open_clip(
        "clip_vit_base_patch32_datacomp", "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K", "open_clip_model.safetensors",
        "f0e2ffa09cbadab3db6a261ec1ec56407ce42912",
        "3c00043509d2e3f35ec62bd85a643a393883dcda624d8208d034cc390c708297",
        Quality(61.08, 37.14), _vit(32),
    ),
    _open_clip(
        # Main has a pickle only; this is the hub's own conversion of it (pull request 2 of the repository).
        "clip_vit_base_patch16_datacomp", "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K",
        "open_clip_pytorch_model.safetensors",
        "05fa70d888b3dcddcaeb5906c71e35e736bc8d42",
        "783dcd825e1a3532faa77a2537bbc041353779a7579d904e547a61d5aa18ac24",
        Quality(67.56, 40.16), _vit(16),
    ),
    _openai(
        "clip_resnet_r50", "RN50.pt",
        "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",
        Quality(57.36, 28.54), _resnet(1024, 224, (3, 4, 6, 3), 64),
    ),
    _openai(
        "clip_resnet_r101", "RN101.pt",
        "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599",
        Quality(58.04, 30.69), _resnet(512, 224, (3, 4, 23, 3), 64),
    ),
    _openai(
        "clip_resnet_r50x4", "RN50x4.pt",
        "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd",
        Quality(62.58, 33.39), _resnet(640, 288, (4, 6, 10, 6), 80, text_width=640),
    ),
    _openai(
        "clip_resnet_r50x16", "RN50x16.pt",
        "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa",
        Quality(65.34, 35.41), _resnet(768, 384, (6, 8, 18, 8), 96, text_width=768),
    ),
    _openai(
        "clip_resnet_r50x64", "RN50x64.pt",
        "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c",
        Quality(68.98, 35.24), _resnet(1024, 448, (3, 15, 36, 10), 128, text_width=1024),
    ),
)  # fmt: skip


def list_models() -> tuple[ModelSpec, ...]:
    """All models, `builtin` first."""
    return _MODELS


def get_model(name: str) -> ModelSpec:
    """Looks a model up by name; a path (`./my-model`) is the folder of a model that `train` made.

    Raises:
        InputError: no such model; the message lists the known ones.
        ModelError: the folder holds no model, or a damaged one.
    """
    if is_folder_name(name):
        from .folder import folder_spec

        return folder_spec(Path(resolve_name(name)))
    for spec in _MODELS:
        if spec.name == name:
            return spec
    known = ", ".join(spec.name for spec in _MODELS)
    here = f"; for the folder here: --model ./{name}" if Path(name).is_dir() else ""
    raise InputError(f"there is no model named '{name}'; known models: {known}{here}")
