"""The known models: their sizes, where their weights come from, their licence, and how well they find images.

Sizes: `model_configs/` of open_clip (github.com/mlfoundations/open_clip); the tests compare them.
Quality: `docs/openclip_retrieval_results.csv` of open_clip, columns "image retr. R@1" (an image found by its caption).
"""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path
from typing import Any

from ..errors import InputError
from .architecture import Architecture, TextEncoder
from .hub_config import CHINESE_CLIP_CONTEXT, XLM_R_BASE
from .hub_models import read_any_folder, read_repository
from .languages import CROSSMODAL, MULTILINGUAL, XLM_R
from .model_id import is_folder_name, is_hub_name, resolve_name
from .spec import ModelSpec, Quality, Weights
from .text_models import list_text_models

# Columns: embed_dim, image_resolution, vision_layers, vision_width, vision_patch_size, then width, heads and layers of
# the text tower.
_VIT_B_32 = Architecture(512, 224, 12, 768, 32, 512, 8, 12)
_VIT_B_16 = Architecture(512, 224, 12, 768, 16, 512, 8, 12)
_VIT_L_14 = Architecture(768, 224, 24, 1024, 14, 768, 12, 12)
_XLM_R_VIT_B_32 = Architecture(512, 224, 12, 768, 32, 768, 12, 12, vocab_size=250002)
_PE_CORE_S = Architecture(512, 384, 12, 384, 16, 512, 8, 12, 32)
_CHINESE_VIT_B_16 = Architecture(512, 224, 12, 768, 16, 768, 12, 12, CHINESE_CLIP_CONTEXT, 21128)
_VIT_L_14_336 = Architecture(768, 336, 24, 1024, 14, 768, 12, 12)
_RN50 = Architecture(1024, 224, (3, 4, 6, 3), 64, None, 512, 8, 12)
_RN101 = Architecture(512, 224, (3, 4, 23, 3), 64, None, 512, 8, 12)
_RN50X4 = Architecture(640, 288, (4, 6, 10, 6), 80, None, 640, 10, 12)
_RN50X16 = Architecture(768, 384, (6, 8, 18, 8), 96, None, 768, 12, 12)
_RN50X64 = Architecture(1024, 448, (3, 15, 36, 10), 128, None, 1024, 16, 12)


def _siglip2_sizes(image_resolution: int, patch: int) -> Architecture:
    return Architecture(768, image_resolution, 12, 768, patch, 768, 12, 12, 64, 256000)


# 10⁹ multiplications and additions per image, and 10⁶ bytes of float32 parameters. The tests count both.
_COSTS = {
    _VIT_B_32: (8.2, 605), _VIT_B_16: (32.7, 598), _VIT_L_14: (156.4, 1710), _VIT_L_14_336: (368.5, 1712),
    _XLM_R_VIT_B_32: (8.2, 1464), _CHINESE_VIT_B_16: (32.7, 753), _siglip2_sizes(256, 32): (11.5, 1507),
    _siglip2_sizes(224, 16): (35.4, 1501), _siglip2_sizes(256, 16): (46.8, 1501),
    _siglip2_sizes(384, 16): (112.1, 1502), _PE_CORE_S: (31.3, 349), _RN50: (11.6, 408),
    _RN101: (19.0, 479), _RN50X4: (41.2, 713), _RN50X16: (145.7, 1164), _RN50X64: (520.3, 2493),
}  # fmt: skip
# What each model is good for, in the order in which `list_models` returns them.
_TAKEN_FOR = {
    "builtin": "a first try, without a download: everyday things, not fine detail",
    "clip_vit_base_patch32_laion2b": "English; the default",
    "xlm-roberta-base-ViT-B-32": "many languages, at the cost of the default",
    "siglip2-base-patch32-256": "many languages, newer, at little more cost",
    "clip_vit_base_patch16_laion2b": "English, better and slower",
    "siglip2-base-patch16-224": "many languages, newer, four times the work",
    "siglip2-base-patch16-256": "the same, finer detail",
    "siglip2-base-patch16-384": "the same, finest detail; a GPU helps",
    "clip_vit_large_patch14_laion2b": "English, the best here; a GPU helps",
    "PE-Core-S-16-384": "English, fine detail from a small download",
    "chinese-clip-vit-base-patch16": "Chinese; Towhee's tutorial in Chinese",
    "clip_vit_base_patch32": "Towhee's tutorials; takes a --text-model",
    "clip_vit_base_patch16": "Towhee's tutorials",
    "clip_vit_large_patch14": "Towhee's tutorials; takes a --text-model",
    "clip_vit_large_patch14_336": "Towhee's tutorials",
    "clip_vit_base_patch32_datacomp": "collections made with it",
    "clip_vit_base_patch16_datacomp": "collections made with it",
    "clip_resnet_r50": "collections made with it", "clip_resnet_r101": "collections made with it",
    "clip_resnet_r50x4": "collections made with it", "clip_resnet_r50x16": "collections made with it",
    "clip_resnet_r50x64": "collections made with it",
}  # fmt: skip


def _openai(name: str, file: str, architecture: Architecture, quality: Quality, sha256: str) -> ModelSpec:
    # OpenAI's server names the folder by the file's SHA-256 (`_MODELS` in clip/clip.py of github.com/openai/CLIP).
    url = f"https://openaipublic.azureedge.net/clip/models/{sha256}/{file}"
    weights = Weights(file, sha256, url=url, repository="openai/CLIP", revision=sha256)
    return ModelSpec(name, architecture, weights, licence="MIT", quality=quality)


def _open_clip(
    name: str, architecture: Architecture, quality: Quality, repository: str, revision: str, sha256: str = "",
    hub_file: str = "open_clip_model.safetensors",
) -> ModelSpec:  # fmt: skip
    """Describe weights on the Hugging Face hub that open_clip trained. Mean and deviation are OpenAI's."""
    weights = Weights(f"{name}.safetensors", sha256, repository=repository, revision=revision, hub_file=hub_file)
    return ModelSpec(name, architecture, weights, licence="MIT", quality=quality, activation="gelu")


def _on_hub(
    name: str, architecture: Architecture, licence: str, repository: str, *files: str, quality: Quality | None = None,
    **values: Any,
) -> ModelSpec:  # fmt: skip
    """Describe a repository without a pinned commit or SHA-256; the first download records the commit.

    A user may put its files into the cache, in a folder with the model's name.
    """
    first, *others = files
    weights = Weights(f"{name}/{first}", repository=repository, hub_file=first, others=tuple(others))
    return ModelSpec(name, architecture, weights, licence, quality, **values)


def _siglip2(name: str, image_resolution: int, patch: int) -> ModelSpec:
    """Describe one of SigLIP 2's base models, in transformers' layout."""
    return _on_hub(
        name, _siglip2_sizes(image_resolution, patch), "Apache-2.0", f"google/{name}", "model.safetensors",
        family="siglip", activation="gelu_tanh", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), squash=True, bilinear=True,
        cleaning="lower", languages=CROSSMODAL,
    )  # fmt: skip


BUILTIN = ModelSpec(
    name="builtin",
    architecture=Architecture(256, 160, (2, 2, 2, 2), 32, None, 256, 4, 4),
    weights=Weights("builtin.safetensors", path=Path(__file__).with_name("builtin.safetensors")),
    licence="Apache-2.0 (trained on research data sets, see models/BUILTIN.md)",
    languages=MULTILINGUAL,
    gflops=1.0,
    megabytes=62,
    second_tower=True,
)

_DOWNLOADED = (
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
    _on_hub("clip_vit_large_patch14_laion2b", _VIT_L_14, "MIT", "laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
            "open_clip_model.safetensors", "open_clip_pytorch_model.bin", quality=Quality(75.52, 46.51),
            activation="gelu", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    _on_hub("xlm-roberta-base-ViT-B-32", _XLM_R_VIT_B_32, "MIT",
            "laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k", "open_clip_model.safetensors",
            "open_clip_pytorch_model.bin", quality=Quality(64.48, 37.78), activation="gelu",
            text=dataclasses.replace(XLM_R_BASE, head=(640, 512)), cleaning="whitespace", languages=XLM_R),
    _siglip2("siglip2-base-patch32-256", 256, 32),
    _siglip2("siglip2-base-patch16-224", 224, 16),
    _siglip2("siglip2-base-patch16-256", 256, 16),
    _siglip2("siglip2-base-patch16-384", 384, 16),
    _on_hub("PE-Core-S-16-384", _PE_CORE_S, "Apache-2.0", "timm/PE-Core-S-16-384", "open_clip_model.safetensors",
            "open_clip_pytorch_model.bin", family="pe", activation="gelu", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5),
            squash=True, bilinear=True),
    _on_hub("chinese-clip-vit-base-patch16", _CHINESE_VIT_B_16, "Apache-2.0",
            "OFA-Sys/chinese-clip-vit-base-patch16", "model.safetensors", "pytorch_model.bin", squash=True,
            text=TextEncoder(21128, CHINESE_CLIP_CONTEXT, pooling="first"), languages=("zh",)),
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


def _with_facts(spec: ModelSpec) -> ModelSpec:
    gflops, megabytes = _COSTS.get(spec.architecture, (spec.gflops, spec.megabytes))
    if spec.weights.url:  # OpenAI stores everything except the vocabulary in float16
        vocabulary = spec.architecture.vocab_size * spec.architecture.transformer_width
        megabytes = (megabytes + vocabulary * 4 // 10**6) // 2
    return dataclasses.replace(spec, gflops=gflops, megabytes=megabytes, note=_TAKEN_FOR[spec.name])


_MODELS = tuple(sorted(map(_with_facts, (BUILTIN, *_DOWNLOADED)), key=lambda spec: [*_TAKEN_FOR].index(spec.name)))


def list_models() -> tuple[ModelSpec, ...]:
    """Return all models, starting with those that suit most users."""
    return _MODELS


def get_model(name: str) -> ModelSpec:
    """Look up a model by name.

    A path (`./my-model`) is a folder that `image-search train` wrote, or one with the files of a repository of the
    Hugging Face hub; `hf:ORG/NAME` is such a repository.

    Raises:
        InputError: there is no such model; the message names the most similar one.
        ModelError: the folder holds no model, or a damaged one.
    """
    if is_hub_name(name):
        return read_repository(name)
    if is_folder_name(name):
        return read_any_folder(Path(resolve_name(name)))
    specs = {spec.name: spec for spec in _MODELS}
    if name in specs:
        return specs[name]
    text_model = next((spec for spec in list_text_models() if spec.name == name), None)
    if text_model is not None:
        raise InputError(f"{name} reads texts only: index with --model {text_model.fits[0]}, search with --text-model")
    similar = difflib.get_close_matches(name.lower(), specs, n=1, cutoff=0.4)
    hints = [f"did you mean {similar[0]}?"] if similar else []
    if Path(name).is_dir():
        hints.append(f"for the folder here: --model ./{name};")
    raise InputError(f"there is no model named '{name}'; {' '.join([*hints, '`image-search models` lists all'])}")
