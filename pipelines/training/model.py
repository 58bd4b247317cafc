"""The network under training, and its two forward passes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch.nn import functional as F

from ..models.registry import BUILTIN
from ..models.spec import Architecture
from ..models.towers import set_activation
from ..towhee_compat import import_clip


def build(seed: int, architecture: Architecture = BUILTIN.architecture, activation: str = BUILTIN.activation) -> Any:
    """A `towhee.models.clip.CLIP` with random weights."""
    torch.manual_seed(seed)
    clip: Any = import_clip()
    network = clip.CLIP(**asdict(architecture))
    set_activation(network, activation)
    return network


def at_resolution(state: Mapping[str, torch.Tensor], resolution: int) -> dict[str, torch.Tensor]:
    """The state of a CLIP with a ModifiedResNet, the positions of its attention pool interpolated for `resolution`."""
    name, side = "visual.attnpool.positional_embedding", resolution // 32
    mean, grid = state[name][:1], state[name][1:]
    trained = math.isqrt(len(grid))
    if trained == side:
        return dict(state)
    planes = grid.T.reshape(1, -1, trained, trained)
    resized = F.interpolate(planes, size=(side, side), mode="bilinear", align_corners=False)
    return {**state, name: torch.cat([mean, resized.flatten(2)[0].T])}


def interpolate(
    start: Mapping[str, torch.Tensor], tuned: Mapping[str, torch.Tensor], alpha: float
) -> dict[str, torch.Tensor]:
    """alpha · tuned + (1 - alpha) · start, tensor by tensor (WiSE-FT, Wortsman et al. 2022).

    What fine-tuning teaches stays to a large part, what it makes a model forget comes back. 0 and 1 are exact.
    """
    mixed = {}
    for name, tensor in tuned.items():
        before = start[name].to(tensor.device)
        if alpha in (0, 1) or not tensor.is_floating_point():
            mixed[name] = (before if alpha == 0 else tensor).clone()
        else:
            mixed[name] = alpha * tensor + (1 - alpha) * before
    return mixed


def encode_tokens(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """`CLIP.encode_text` for rows that are cut after the longest text.

    Attention is causal and the embedding is read at the end-of-text token, so the positions after it change
    nothing; leaving them out is several times faster than computing all 77.
    """
    length = tokens.shape[1]
    states = (model.token_embedding(tokens) + model.positional_embedding[:length]).permute(1, 0, 2)
    for block in model.transformer.resblocks:
        normed = block.ln_1(states)
        mask = block.attn_mask[:length, :length].to(normed.dtype)
        states = states + block.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        states = states + block.mlp(block.ln_2(states))
    states = model.ln_final(states.permute(1, 0, 2))
    ends = states[torch.arange(len(tokens), device=tokens.device), tokens.argmax(dim=-1)]
    return ends @ model.text_projection
