"""BERT-style text encoders (BERT, RoBERTa, XLM-R, DistilBERT), with the layers that project into CLIP's space.

Devlin et al. 2019, §3; each layer norm follows a residual sum. The outputs were checked against `transformers`,
open_clip and cn_clip.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from .architecture import TextEncoder
from .blocks import split_heads


class BertNetwork(nn.Module):
    """The parameters, under this program's own names; `names` translates those of each publisher."""

    def __init__(self, sizes: TextEncoder) -> None:
        super().__init__()
        self.sizes = sizes
        self.tokens = nn.Embedding(sizes.vocab_size, sizes.width)
        self.positions = nn.Embedding(sizes.positions, sizes.width)
        self.types = nn.Embedding(sizes.token_types, sizes.width) if sizes.token_types else None
        self.norm = nn.LayerNorm(sizes.width, sizes.epsilon)
        self.layers = nn.ModuleList(_Layer(sizes) for _ in range(sizes.layers))
        widths = (sizes.width, *sizes.head)
        self.head = nn.ModuleList(nn.Linear(one, other, bias=sizes.head_bias) for one, other in pairwise(widths))


class _Layer(nn.Module):
    def __init__(self, sizes: TextEncoder) -> None:
        super().__init__()
        width = sizes.width
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.c_fc, self.c_proj = nn.Linear(width, sizes.mlp_width), nn.Linear(sizes.mlp_width, width)
        self.norm_1, self.norm_2 = (nn.LayerNorm(width, sizes.epsilon) for _ in range(2))
        self.heads = sizes.heads

    def forward(self, x: Tensor, mask: Tensor, dtype: torch.dtype) -> Tensor:
        own = x.to(dtype)
        query, key, value = (split_heads(layer(own), self.heads) for layer in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = self.norm_1(x + self.out(mixed.transpose(1, 2).flatten(2)).float())
        inner = functional.gelu(self.c_fc(x.to(dtype)))
        normed: Tensor = self.norm_2(x + self.c_proj(inner).float())
        return normed


class BertTower(nn.Module):
    """int64[n, length] tokens, short rows padded → float32[n, dim], not normalised."""

    def __init__(self, network: BertNetwork, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.network, self.dtype = network, dtype
        network.layers.to(dtype)
        for layer in network.layers:
            layer.norm_1.float()
            layer.norm_2.float()

    def forward(self, tokens: Tensor) -> Tensor:
        network, sizes = self.network, self.network.sizes
        seen = tokens != sizes.padding
        first = sizes.first_position
        x: Tensor = network.tokens(tokens) + network.positions.weight[first : first + tokens.shape[1]]
        if network.types is not None:
            x = x + network.types.weight[0]
        x = network.norm(x)
        for layer in network.layers:
            x = layer(x, seen[:, None, None, :], self.dtype)
        if sizes.pooling == "mean":
            weights = seen[:, :, None].float()
            x = (x * weights).sum(1) / weights.sum(1)
        else:
            x = x[:, 0]
        for number, layer in enumerate(network.head):
            x = layer(functional.gelu(x) if number else x)
        return x
