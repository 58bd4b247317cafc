"""The names under which others save the same CLIP tensors, brought to OpenAI's, and the sizes that tensors betray."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .registry import Architecture, list_models

if TYPE_CHECKING:
    import torch

    State = dict[str, torch.Tensor]

# Hugging Face `CLIPModel` → OpenAI, inside a block ("layers.3.") and outside.
_HF_BLOCK = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip
_HF_NAMES = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",  # misspelt there
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "logit_scale": "logit_scale",
}
_HF_LAYER = re.compile(r"(vision|text)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")


def with_openai_names(state: State) -> State:
    """The tensors under OpenAI's names, whether saved by OpenAI, open_clip, a training run or Hugging Face."""
    state = {name.removeprefix("module.").removeprefix("text."): tensor for name, tensor in state.items()}
    return _from_hugging_face(state) if "visual_projection.weight" in state else state


def _from_hugging_face(state: State) -> State:
    import torch

    renamed = {_HF_NAMES[name]: tensor for name, tensor in state.items() if name in _HF_NAMES}
    # There the projections are linear layers, here matrices to multiply with.
    renamed["visual.proj"] = state["visual_projection.weight"].T
    renamed["text_projection"] = state["text_projection.weight"].T
    for name, tensor in state.items():
        match = _HF_LAYER.fullmatch(name)
        if match is None:
            continue
        tower, number, part, kind = match.groups()
        block = f"{'visual.' if tower == 'vision' else ''}transformer.resblocks.{number}"
        if part in _HF_BLOCK:
            renamed[f"{block}.{_HF_BLOCK[part]}.{kind}"] = tensor
        elif part == "self_attn.q_proj":  # query, key and value are one matrix here
            parts = [state[name.replace("q_proj", f"{which}_proj")] for which in "qkv"]
            renamed[f"{block}.attn.in_proj_{kind}"] = torch.cat(parts)
    return renamed


def guess_model(state: State) -> str:
    """Which of the known models has tensors of these sizes, in words for an error message."""
    architecture = _sizes(state)
    if architecture is None:
        return "it is no CLIP that this program knows"
    # Heads leave no trace in the sizes.
    names = [
        spec.name
        for spec in list_models()
        if architecture == (spec.architecture.vision_layers, *_comparable(spec.architecture))
    ]
    return f"it seems to be {' or '.join(names)}" if names else "it seems to be a CLIP of other sizes"


def _comparable(architecture: Architecture) -> tuple[int | None, ...]:
    return (
        architecture.embed_dim, architecture.image_resolution, architecture.vision_width,
        architecture.vision_patch_size, architecture.transformer_width, architecture.transformer_layers,
    )  # fmt: skip


def _sizes(state: State) -> tuple[object, ...] | None:
    try:
        text_width, dim = state["text_projection"].shape
        layers = _count(state, r"transformer\.resblocks\.(\d+)\.ln_1\.weight")
        if "visual.proj" in state:
            width, _, patch, _ = state["visual.conv1.weight"].shape
            resolution = patch * round((len(state["visual.positional_embedding"]) - 1) ** 0.5)
            depth = _count(state, r"visual\.transformer\.resblocks\.(\d+)\.ln_1\.weight")
            return depth, dim, resolution, width, patch, text_width, layers
        width = len(state["visual.layer1.0.conv1.weight"])
        resolution = 32 * round((len(state["visual.attnpool.positional_embedding"]) - 1) ** 0.5)
        depths = tuple(_count(state, rf"visual\.layer{stage}\.(\d+)\.conv1\.weight") for stage in (1, 2, 3, 4))
        return depths, dim, resolution, width, None, text_width, layers
    except (KeyError, ValueError):
        return None


def _count(state: State, pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in state)
