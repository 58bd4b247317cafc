"""Text encoders for existing image embeddings, trained to reproduce the text embeddings of another model."""

from __future__ import annotations

import dataclasses

from ..errors import InputError
from .architecture import Architecture, TextEncoder
from .hub_config import XLM_R_BASE
from .languages import DISTILLED, M_CLIP
from .spec import ModelSpec, Weights


def _text_model(
    name: str, licence: str, repository: str, revision: str, encoder: TextEncoder, languages: tuple[str, ...],
    megabytes: int, *fits: str, beside: str = "",
) -> ModelSpec:  # fmt: skip
    file = "pytorch_model.bin"
    weights = Weights(f"{name}/{file}", repository=repository, revision=revision, hub_file=file, beside=beside)
    sizes = Architecture(encoder.head[-1], 0, 0, 0, None, encoder.width, encoder.heads, encoder.layers)
    return ModelSpec(
        name, sizes, weights, licence, family="text", text=encoder, languages=languages, fits=fits, megabytes=megabytes
    )


# The first two commits are named on the pages of their files on the hub.
_M_CLIP = dataclasses.replace(
    XLM_R_BASE, context_length=512, width=1024, layers=24, heads=16, mlp_width=4096, head_bias=True
)
_TEXT_MODELS = (
    _text_model(
        "clip-ViT-B-32-multilingual-v1", "Apache-2.0", "sentence-transformers/clip-ViT-B-32-multilingual-v1",
        "d27719bd842e85d6e9667f308279bfaa48a677e5",
        TextEncoder(119547, 128, layers=6, token_types=0), DISTILLED, 541, "clip_vit_base_patch32",
        beside="2_Dense/pytorch_model.bin",
    ),
    _text_model(
        "XLM-Roberta-Large-Vit-B-32", "MIT", "M-CLIP/XLM-Roberta-Large-Vit-B-32",
        "dc925ee8a5148b461335a36954aa8b2ec68b41a9", _M_CLIP, M_CLIP, 2237, "clip_vit_base_patch32",
    ),
    _text_model(
        "XLM-Roberta-Large-Vit-L-14", "MIT", "M-CLIP/XLM-Roberta-Large-Vit-L-14", "",
        dataclasses.replace(_M_CLIP, head=(768,)), M_CLIP, 2239, "clip_vit_large_patch14",
    ),
)  # fmt: skip


def list_text_models() -> tuple[ModelSpec, ...]:
    """Return all text encoders for the image embeddings of other models."""
    return _TEXT_MODELS


def get_text_model(name: str, model: str) -> ModelSpec:
    """Look up the text encoder `name` for the images of `model`.

    Raises:
        InputError: there is none; the message names those that fit, or the model to index with.
    """
    fitting = {spec.name: spec for spec in _TEXT_MODELS if model in spec.fits}
    if name in fitting:
        return fitting[name]
    if fitting:
        raise InputError(f"--text-model {name}: for {model} there are {' and '.join(fitting)}")
    raise InputError(
        f"--text-model {name}: for {model} there is no text model; to search in many languages, index with "
        "--model xlm-roberta-base-ViT-B-32"
    )
