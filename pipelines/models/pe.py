"""Perception Encoder (Bolya et al. 2025, "PE core"), in the sizes that use the patch grid of their training.

The image tower is a ViT with rotary and learnt position embeddings, pooled by attention. The text tower is CLIP's. The
outputs were checked against open_clip, which takes the image tower from timm.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .blocks import AttentionPool, NamedAsClip, PatchTower, resblocks
from .spec import ModelSpec

EPSILON = 1e-5
_POOL_HEADS = 8
_TEMPERATURE = 10000.0


class PeNetwork(NamedAsClip):
    """The parameters of both towers."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec, _Visual(spec), EPSILON)
        sizes = spec.architecture
        self.text_projection = nn.Parameter(torch.empty(sizes.transformer_width, sizes.embed_dim))


class _Visual(nn.Module):
    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        sizes = spec.architecture
        width, patch, layers = sizes.vision_width, sizes.vision_patch_size, sizes.vision_layers
        assert patch is not None
        assert isinstance(layers, int)
        self.side = sizes.image_resolution // patch
        self.heads = sizes.vision_heads or width // 64
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(self.side**2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width, EPSILON), nn.LayerNorm(width, EPSILON)
        self.transformer = resblocks(spec, width, self.heads, layers, EPSILON)
        self.attn_pool = AttentionPool(width, _POOL_HEADS, 4 * width, spec.activation, EPSILON)
        self.head = nn.Linear(width, sizes.embed_dim)


class PeImageTower(PatchTower):
    """uint8[n, size, size, 3] RGB → float32[n, dim], not normalised."""

    def __init__(self, network: Any, spec: ModelSpec, dtype: torch.dtype) -> None:
        visual = network.visual
        angles = rotary_angles(visual.side, spec.architecture.vision_width // visual.heads)
        super().__init__(network, spec, dtype, angles)
        visual.attn_pool.to_dtype(dtype)

    def forward(self, pixels: Tensor) -> Tensor:
        visual = self.visual
        patches = self.embed_patches(pixels)
        first = visual.class_embedding.expand(patches.shape[0], 1, -1)
        x = visual.ln_pre(torch.cat([first, patches], dim=1) + visual.positional_embedding)
        x = visual.ln_post(self.blocks(x, whole=True))
        embeddings: Tensor = visual.head(visual.attn_pool(x))
        return embeddings


def rotary_angles(side: int, head_dim: int) -> Tensor:
    """Return float32[1 + side², head_dim]: 0 for the class token, then each patch's column and row angles.

    Columns and rows count from 1 (`RotaryEmbeddingCat` in timm, with grid_offset 1 and grid_indexing xy). Each angle
    is used for two neighbouring dimensions.
    """
    bands = _TEMPERATURE ** -(torch.arange(head_dim // 4) / (head_dim // 4))
    places = torch.arange(1, side + 1).float()[:, None] * bands
    columns, rows = places.expand(side, -1, -1), places[:, None].expand(-1, side, -1)
    angles = torch.cat([columns, rows], dim=2).flatten(0, 1).repeat_interleave(2, dim=1)
    return torch.cat([torch.zeros(1, head_dim), angles])
