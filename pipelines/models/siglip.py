"""SigLIP and SigLIP 2 (Zhai et al. 2023, Tschannen et al. 2025), in the sizes with a square input.

Attention is bidirectional in both towers. An image is pooled by the attention of one learnt query (MAP head). A text is
always padded to the context length and is read at its last position. The outputs were checked against
`transformers.SiglipModel` and open_clip.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .blocks import AttentionPool, Blocks, NamedAsClip, PatchTower, resblocks
from .spec import ModelSpec

EPSILON = 1e-6  # of every layer norm


class SiglipNetwork(NamedAsClip):
    """The parameters of both towers."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec, _Visual(spec), EPSILON)
        sizes = spec.architecture
        self.text_projection = nn.Linear(sizes.transformer_width, sizes.embed_dim)


class _Visual(nn.Module):
    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        sizes = spec.architecture
        width, patch, layers = sizes.vision_width, sizes.vision_patch_size, sizes.vision_layers
        assert patch is not None
        assert isinstance(layers, int)
        heads = sizes.vision_heads or width // 64
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch)
        self.positional_embedding = nn.Parameter(torch.empty((sizes.image_resolution // patch) ** 2, width))
        self.transformer = resblocks(spec, width, heads, layers, EPSILON)
        self.ln_post = nn.LayerNorm(width, EPSILON)
        self.attn_pool = AttentionPool(width, heads, sizes.mlp_width or 4 * width, spec.activation, EPSILON)


class SiglipImageTower(PatchTower):
    """uint8[n, size, size, 3] RGB → float32[n, dim], not normalised."""

    def __init__(self, network: Any, spec: ModelSpec, dtype: torch.dtype) -> None:
        super().__init__(network, spec, dtype)
        network.visual.attn_pool.to_dtype(dtype)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.blocks(self.embed_patches(pixels) + self.visual.positional_embedding, whole=True)
        embeddings: Tensor = self.visual.attn_pool(self.visual.ln_post(x))
        return embeddings


class SiglipTextTower(nn.Module):
    """int64[n, context length] tokens → float32[n, dim], not normalised."""

    def __init__(self, network: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self.tokens, self.final = network.token_embedding, network.ln_final
        self.positions, self.projection = network.positional_embedding, network.text_projection
        self.blocks = Blocks(network.transformer, dtype)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.blocks(self.tokens(tokens) + self.positions[: tokens.shape[1]])
        last = torch.full_like(tokens[:, 0], tokens.shape[1] - 1)
        embeddings: Tensor = self.projection(self.final(self.blocks.last(x, last)))
        return embeddings
