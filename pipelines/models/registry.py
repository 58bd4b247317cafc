"""The known models: their sizes, where their weights come from, their licence, and how well they find images.

Sizes: `model_configs/` of open_clip (github.com/mlfoundations/open_clip), which the tests compare.
Quality: `docs/openclip_retrieval_results.csv` of open_clip, columns "image retr. R@1" (an image found by its caption).
"""

from __future__ import annotations

import difflib
from pathlib import Path

from ..errors import InputError
from .languages import MULTILINGUAL
from .model_id import is_folder_name, resolve_name
from .spec import Architecture, ModelSpec, Quality, Weights, read_folder

# Columns: embed_dim, image_resolution, vision_layers, vision_width, vision_patch_size, then width, heads and layers of
# the text tower.
_VIT_B_32 = Architecture(512, 224, 12, 768, 32, 512, 8, 12)
_VIT_B_16 = Architecture(512, 224, 12, 768, 16, 512, 8, 12)
_VIT_L_14 = Architecture(768, 224, 24, 1024, 14, 768, 12, 12)
_VIT_L_14_336 = Architecture(768, 336, 24, 1024, 14, 768, 12, 12)
_RN50 = Architecture(1024, 224, (3, 4, 6, 3), 64, None, 512, 8, 12)
_RN101 = Architecture(512, 224, (3, 4, 23, 3), 64, None, 512, 8, 12)
_RN50X4 = Architecture(640, 288, (4, 6, 10, 6), 80, None, 640, 10, 12)
_RN50X16 = Architecture(768, 384, (6, 8, 18, 8), 96, None, 768, 12, 12)
_RN50X64 = Architecture(1024, 448, (3, 15, 36, 10), 128, None, 1024, 16, 12)


def _openai(name: str, file: str, architecture: Architecture, quality: Quality, sha256: str) -> ModelSpec:
    # OpenAI's server names the folder by the file's SHA-256 (`_MODELS` in clip/clip.py of github.com/openai/CLIP).
    url = f"https://openaipublic.azureedge.net/clip/models/{sha256}/{file}"
    weights = Weights(file, sha256, url=url, repository="openai/CLIP", revision=sha256)
    return ModelSpec(name, architecture, weights, licence="MIT", quality=quality)


def _open_clip(
    name: str, architecture: Architecture, quality: Quality, repository: str, revision: str, sha256: str = "",
    hub_file: str = "open_clip_model.safetensors",
) -> ModelSpec:  # fmt: skip
    """Describe weights trained with open_clip, on the Hugging Face hub. Mean and deviation are OpenAI's."""
    weights = Weights(f"{name}.safetensors", sha256, repository=repository, revision=revision, hub_file=hub_file)
    return ModelSpec(name, architecture, weights, licence="MIT", quality=quality, activation="gelu")


BUILTIN = ModelSpec(
    name="builtin",
    architecture=Architecture(256, 160, (2, 2, 2, 2), 32, None, 256, 4, 4),
    weights=Weights("builtin.safetensors", path=Path(__file__).with_name("builtin.safetensors")),
    licence="Apache-2.0 (trained on research data sets, see models/BUILTIN.md)",
    note="small demo model, shipped with the package; finds everyday things, not fine detail",
    languages=MULTILINGUAL,
)

_MODELS = (
    BUILTIN,
    _openai("clip_vit_base_patch32", "ViT-B-32.pt", _VIT_B_32, Quality(58.78, 30.44),
            "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"),
    _openai("clip_vit_base_patch16", "ViT-B-16.pt", _VIT_B_16, Quality(62.16, 33.09),
            "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"),
    _openai("clip_vit_large_patch14", "ViT-L-14.pt", _VIT_L_14, Quality(64.96, 36.51),
            "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"),
    _openai("clip_vit_large_patch14_336", "ViT-L-14-336px.pt", _VIT_L_14_336, Quality(66.90, 37.09),
            "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02"),
    _open_clip("clip_vit_base_patch32_laion2b", _VIT_B_32, Quality(66.78, 39.34),
               "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "1a25a446712ba5ee05982a381eed697ef9b435cf",
               "ac4f8c4b88af6d963118cbf40ad93176d092abbedfcb752601ae1866352656e6"),
    # its SHA-256 is not published
    _open_clip("clip_vit_base_patch16_laion2b", _VIT_B_16, Quality(69.84, 42.31),
               "laion/CLIP-ViT-B-16-laion2B-s34B-b88K", "7288da5a0d6f0b51c4a2b27c624837a9236d0112"),
    _open_clip("clip_vit_base_patch32_datacomp", _VIT_B_32, Quality(61.08, 37.14),
               "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K", "f0e2ffa09cbadab3db6a261ec1ec56407ce42912",
               "3c00043509d2e3f35ec62bd85a643a393883dcda624d8208d034cc390c708297"),
    # the main branch has only a pickle; this is the hub's conversion of it, pull request 2
    _open_clip("clip_vit_base_patch16_datacomp", _VIT_B_16, Quality(67.56, 40.16),
               "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K", "05fa70d888b3dcddcaeb5906c71e35e736bc8d42",
               "783dcd825e1a3532faa77a2537bbc041353779a7579d904e547a61d5aa18ac24",
               hub_file="open_clip_pytorch_model.safetensors"),
    _openai("clip_resnet_r50", "RN50.pt", _RN50, Quality(57.36, 28.54),
            "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"),
    _openai("clip_resnet_r101", "RN101.pt", _RN101, Quality(58.04, 30.69),
            "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599"),
    _openai("clip_resnet_r50x4", "RN50x4.pt", _RN50X4, Quality(62.58, 33.39),
            "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd"),
    _openai("clip_resnet_r50x16", "RN50x16.pt", _RN50X16, Quality(65.34, 35.41),
            "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa"),
    _openai("clip_resnet_r50x64", "RN50x64.pt", _RN50X64, Quality(68.98, 35.24),
            "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c"),
)  # fmt: skip


def list_models() -> tuple[ModelSpec, ...]:
    """Return all models, `builtin` first."""
    return _MODELS


def get_model(name: str) -> ModelSpec:
    """Look a model up by name. A path (`./my-model`) is a folder that `image-search train` wrote.

    Raises:
        InputError: there is no such model; the message names the most similar one.
        ModelError: the folder holds no model, or a damaged one.
    """
    if is_folder_name(name):
        return read_folder(Path(resolve_name(name)))
    specs = {spec.name: spec for spec in _MODELS}
    if name in specs:
        return specs[name]
    similar = difflib.get_close_matches(name.lower(), specs, n=1, cutoff=0.4)
    hints = [f"did you mean {similar[0]}?"] if similar else []
    if Path(name).is_dir():
        hints.append(f"for the folder here: --model ./{name};")
    raise InputError(f"there is no model named '{name}'; {' '.join([*hints, '`image-search models` lists all'])}")
