"""Translate each publisher's tensor names into those of this program's networks.

This program uses OpenAI's names for CLIP, and for other families where CLIP has such a tensor. It reads the names of
OpenAI, of a training run, of open_clip (with timm's image towers), of Chinese-CLIP's own code, of transformers'
`CLIPModel`, `SiglipModel` and `ChineseCLIPModel`, and of text encoders from transformers, sentence-transformers and
Multilingual-CLIP.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

State = dict[str, torch.Tensor]
Renames = Sequence[tuple[str, str]]

_BERT_ANCHOR = "embeddings.word_embeddings.weight"
_HUGGING_FACE: Renames = (
    (r"vision_model\.embeddings\.class_embedding", "visual.class_embedding"),
    (r"vision_model\.embeddings\.patch_embedding\.", "visual.conv1."),
    (r"vision_model\.embeddings\.position_embedding\.weight", "visual.positional_embedding"),
    (r"vision_model\.pre_layrnorm\.", "visual.ln_pre."),  # misspelt in transformers
    (r"vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"vision_model\.head\.", "visual.attn_pool."),
    (r"text_model\.embeddings\.token_embedding\.", "token_embedding."),
    (r"text_model\.embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"text_model\.final_layer_norm\.", "ln_final."),
    (r"text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"text_model\.head\.", "text_projection."),
)
_TIMM: Renames = (
    (r"patch_embed\.proj\.", "visual.conv1."), (r"pos_embed", "visual.positional_embedding"),
    (r"blocks\.", "visual.transformer.resblocks."), (r"norm\.", "visual.ln_post."),
    (r"attn_pool\.", "visual.attn_pool."), (r"cls_token", "visual.class_embedding"),
    (r"norm_pre\.", "visual.ln_pre."), (r"head\.", "visual.head."),
)  # fmt: skip
# Names inside a block or a pooling head.
_BLOCK: Renames = (
    (r"layer_norm([12])\.", r"ln_\1."), (r"norm([12])\.", r"ln_\1."), (r"(?:layer)?norm\.", "ln."),
    (r"mlp\.fc1\.", "mlp.c_fc."), (r"mlp\.fc2\.", "mlp.c_proj."), (r"self_attn\.", "attn."),
    (r"attention\.", "attn."), (r"(?:attn\.)?proj\.", "attn.out_proj."), (r"attn\.qkv\.", "attn.in_proj_"),
    (r"latent", "probe"), (r"q\.", "attn.q_proj."), (r"kv\.", "attn.kv_proj."),
)  # fmt: skip
_BERT: Renames = (
    (r"embeddings\.word_embeddings\.", "tokens."), (r"embeddings\.position_embeddings\.", "positions."),
    (r"embeddings\.token_type_embeddings\.", "types."), (r"embeddings\.LayerNorm\.", "norm."),
    (r"encoder\.layer\.", "layers."), (r"transformer\.layer\.", "layers."),
)  # fmt: skip
_BERT_LAYER: Renames = (
    (r"attention\.self\.", ""), (r"attention\.output\.dense\.", "out."), (r"attention\.output\.LayerNorm\.", "norm_1."),
    (r"intermediate\.dense\.", "c_fc."), (r"output\.dense\.", "c_proj."), (r"output\.LayerNorm\.", "norm_2."),
    (r"attention\.q_lin\.", "query."), (r"attention\.k_lin\.", "key."), (r"attention\.v_lin\.", "value."),
    (r"attention\.out_lin\.", "out."), (r"sa_layer_norm\.", "norm_1."), (r"ffn\.lin1\.", "c_fc."),
    (r"ffn\.lin2\.", "c_proj."), (r"output_layer_norm\.", "norm_2."),
)  # fmt: skip
# The layers after a text encoder: those of open_clip (one or two), Multilingual-CLIP and sentence-transformers.
_BERT_HEAD: Renames = (
    (r"proj\.0\.", "bert.head.0."), (r"proj\.2\.", "bert.head.1."), (r"proj\.weight", "bert.head.0.weight"),
    (r"LinearTransformation\.", "bert.head.0."), (r"linear\.", "bert.head.0."),
)  # fmt: skip


def with_own_names(state: State) -> State:
    """Return the tensors under this program's names; unknown names stay as they are."""
    # open_clip's checkpoints put "module." in front of every name, and "text." in front of the text tower's.
    state = {name.removeprefix("module.").removeprefix("text."): tensor for name, tensor in state.items()}
    state = _rename_bert(state)
    if any(name.startswith("visual.trunk.") for name in state):
        state = _from_timm(state)
    return _from_hugging_face(state) if any(name.startswith("vision_model.") for name in state) else state


def _rename(name: str, start: Renames, rest: Renames = ()) -> str:
    """Rename the start of a name, then the part after the block number."""
    for pattern, replacement in start:
        match = re.match(pattern, name)
        if match:
            number = re.compile(r"(\d+\.)?").match(name, match.end())
            assert number is not None  # it also matches the empty string
            return match.expand(replacement) + number[0] + _rename(name[number.end() :], rest)
    return name


def _rename_bert(state: State) -> State:
    """Rename the tensors of a text encoder, whatever their prefix is, and of the layers after it."""
    anchor = next((name for name in state if name.endswith(_BERT_ANCHOR)), None)
    if anchor is None:  # the last layer alone, which sentence-transformers keeps in its own file
        return {f"bert.head.0.{name[7:]}" if name.startswith("linear.") else name: one for name, one in state.items()}
    prefix, renamed = anchor.removesuffix(_BERT_ANCHOR), {}
    for name, tensor in state.items():
        if name == "text_projection":  # a matrix to multiply by, in Chinese-CLIP's own code
            renamed["bert.head.0.weight"] = tensor.T
        elif name == "text_projection.weight":
            renamed["bert.head.0.weight"] = tensor
        elif prefix and not name.startswith(prefix):
            renamed[_rename(name, _BERT_HEAD)] = tensor
        else:
            own = _rename(name.removeprefix(prefix), _BERT, _BERT_LAYER)
            is_head = own == name.removeprefix(prefix)
            renamed[_rename(name, _BERT_HEAD) if is_head else f"bert.{own}"] = tensor
    return renamed


def _from_hugging_face(state: State) -> State:
    renamed = _joined({_rename(name, _HUGGING_FACE, _BLOCK): tensor for name, tensor in state.items()})
    # Hugging Face's projections are linear layers, OpenAI's are matrices to multiply by.
    if "visual_projection.weight" in renamed:
        renamed["visual.proj"] = renamed.pop("visual_projection.weight").T
    if "text_projection.weight" in renamed and "text_projection.bias" not in renamed:
        renamed["text_projection"] = renamed.pop("text_projection.weight").T
    return renamed


def _from_timm(state: State) -> State:
    trunk = "visual.trunk."
    renamed = {
        _rename(name.removeprefix(trunk), _TIMM, _BLOCK) if name.startswith(trunk) else name: tensor
        for name, tensor in state.items()
    }
    for name in ("visual.positional_embedding", "visual.class_embedding"):
        if name in renamed:
            renamed[name] = renamed[name].squeeze()
    return _joined(renamed)


def _joined(state: State) -> State:
    """Join query, key and value into one matrix, as OpenAI stores them."""
    joined, used = dict(state), set()
    for name in state:
        match = re.fullmatch(r"(.*\.attn\.)q_proj\.(weight|bias)", name)
        if match:
            parts = [f"{match[1]}{part}_proj.{match[2]}" for part in ("q", "kv", "k", "v")]
            parts = [part for part in parts if part in state]
            joined[f"{match[1]}in_proj_{match[2]}"] = torch.cat([state[part] for part in parts])
            used.update(parts)
    return {name: tensor for name, tensor in joined.items() if name not in used}
