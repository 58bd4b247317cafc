"""Parts that the towers of several families share: pixels, attention blocks, and networks without weights."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from .spec import Activation, ModelSpec

# Operations with a number that networks apply to their parameters while they are built.
_KEEPING_SHAPES = frozenset({"mul", "__mul__", "__rmul__", "div", "__truediv__", "triu_"})


class NoRandomNumbers(TorchFunctionMode):
    """While this mode is active, torch leaves memory uninitialised instead of filling it with random numbers.

    It also skips arithmetic on meta tensors, for which torch would import its compiler (seconds of CPU time).
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.randn:
            func = torch.empty
        name = getattr(func, "__name__", "")
        if name in ("normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]
        if name in _KEEPING_SHAPES and args[0].is_meta and not isinstance(args[1], Tensor):
            return args[0]
        return func(*args, **(kwargs or {}))


def activation_of(name: Activation) -> nn.Module:
    """Return GELU, exact or in its tanh form. QuickGELU is never requested: Towhee's own blocks have it."""
    return nn.GELU("tanh" if name == "gelu_tanh" else "none")


class Block(nn.Module):
    """The parameters of a residual attention block, under OpenAI's names. `Blocks` does the computation."""

    def __init__(self, width: int, heads: int, mlp_width: int, activation: Activation, epsilon: float) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1, self.ln_2 = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)
        self.mlp = mlp(width, mlp_width, activation)


def resblocks(spec: ModelSpec, width: int, heads: int, layers: int, epsilon: float) -> nn.Module:
    """Return a transformer of `layers` blocks, under the names that OpenAI gave CLIP's blocks."""
    mlp_width = spec.architecture.mlp_width or 4 * width
    holder = nn.Module()
    holder.resblocks = nn.ModuleList(Block(width, heads, mlp_width, spec.activation, epsilon) for _ in range(layers))
    return holder


def mlp(width: int, mlp_width: int, activation: Activation) -> nn.Sequential:
    """Return two linear layers with an activation between them, under OpenAI's names."""
    layers = [("c_fc", nn.Linear(width, mlp_width)), ("gelu", activation_of(activation))]
    return nn.Sequential(OrderedDict([*layers, ("c_proj", nn.Linear(mlp_width, width))]))


class AttentionPool(nn.Module):
    """Pools float32[n, length, width] with the attention of one learnt query and an MLP (MAP head) → [n, width]."""

    def __init__(self, width: int, heads: int, mlp_width: int, activation: Activation, epsilon: float) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.empty(1, 1, width))
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln = nn.LayerNorm(width, epsilon)
        self.mlp = mlp(width, mlp_width, activation)
        self.dtype = torch.float32

    def to_dtype(self, dtype: torch.dtype) -> None:
        """Multiply matrices in this precision from now on."""
        self.dtype = dtype
        self.attn.to(dtype)
        self.mlp.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        weights, biases = (one.chunk(3) for one in (self.attn.in_proj_weight, self.attn.in_proj_bias))
        inputs = (self.probe.expand(x.shape[0], -1, -1), x, x)
        query, key, value = (
            split_heads(functional.linear(one.to(self.dtype), weight, bias), self.attn.num_heads)
            for one, weight, bias in zip(inputs, weights, biases, strict=True)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        pooled = self.attn.out_proj(mixed.transpose(1, 2).flatten(2)).float()
        embeddings: Tensor = pooled + self.mlp(self.ln(pooled).to(self.dtype)).float()
        return embeddings[:, 0]


class Pixels(nn.Module):
    """Normalises uint8[n, size, size, 3] to the float32[n, 3, size, size] that the network was trained on."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1) * 255)

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std


class Blocks(nn.Module):
    """Residual attention blocks over float32[n, length, width]; the last block can compute a single position."""

    def __init__(self, transformer: Any, dtype: torch.dtype, angles: Tensor | None = None) -> None:
        """`angles`: float32[length, head dim], the rotation of queries and keys at each position (rotary embedding)."""
        super().__init__()
        self.sin: Tensor | None
        self.cos: Tensor | None
        self.register_buffer("sin", None if angles is None else angles.sin())
        self.register_buffer("cos", None if angles is None else angles.cos())
        self._all: Any = nn.ModuleList(transformer.resblocks)
        self.dtype = dtype
        for block in self._all:
            block.attn.to(dtype)
            block.mlp.to(dtype)

    def forward(self, x: Tensor, causal: bool = False, whole: bool = False) -> Tensor:
        """Run all blocks except the last; with `whole`, run the last one too."""
        for block in self._all if whole else self._all[:-1]:
            normed = block.ln_1(x).to(self.dtype)
            # Three products instead of one that is split in three: in OpenVINO the split costs more than it saves.
            query, key, value = (functional.linear(normed, *part) for part in _projections(block))
            x = self._rest(block, x, query, key, value, causal=causal)
        return x

    def last(self, x: Tensor, at: Tensor, mask: Tensor | None = None) -> Tensor:
        """Run the last block at one position per item.

        Args:
            at: int64[n], the positions.
            mask: bool[n, length], True where a position may be read.

        Returns:
            float32[n, width].
        """
        block = self._all[-1]
        normed = block.ln_1(x).to(self.dtype)
        index = at.view(-1, 1, 1).expand(-1, 1, x.shape[-1])
        of_query, of_key, of_value = _projections(block)
        query = functional.linear(normed.gather(1, index), *of_query)
        key, value = functional.linear(normed, *of_key), functional.linear(normed, *of_value)
        mask = None if mask is None else mask[:, None, None, :]
        return self._rest(block, x.gather(1, index), query, key, value, mask)[:, 0]

    def _rest(
        self, block: Any, x: Tensor, query: Tensor, key: Tensor, value: Tensor,
        mask: Tensor | None = None, causal: bool = False,
    ) -> Tensor:  # fmt: skip
        heads = block.attn.num_heads
        query, key, value = (split_heads(part, heads) for part in (query, key, value))
        if self.sin is not None and self.cos is not None:
            query, key = (_turn(part, self.sin, self.cos) for part in (query, key))
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        x = x + block.attn.out_proj(mixed.transpose(1, 2).flatten(2)).float()
        x = x + block.mlp(block.ln_2(x).to(self.dtype)).float()
        return x


def _projections(block: Any) -> tuple[tuple[Tensor, Tensor], ...]:
    """Return weight and bias of query, key and value."""
    return tuple(zip(block.attn.in_proj_weight.chunk(3), block.attn.in_proj_bias.chunk(3), strict=True))


def _turn(x: Tensor, sin: Tensor, cos: Tensor) -> Tensor:
    """Rotate each pair of neighbouring dimensions of [n, heads, length, head dim] by the angle of its position."""
    turned = torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)
    return (x * cos + turned * sin).to(x.dtype)


def split_heads(x: Tensor, heads: int) -> Tensor:
    return torch.unflatten(x, 2, (heads, x.shape[2] // heads)).transpose(1, 2)


class PatchTower(nn.Module):
    """An image tower that cuts uint8[n, size, size, 3] RGB into patches and runs attention blocks over them."""

    def __init__(self, network: Any, spec: ModelSpec, dtype: torch.dtype, angles: Tensor | None = None) -> None:
        super().__init__()
        self.visual, self.dtype = network.visual, dtype
        self.pixels = Pixels(spec)
        self.patches = network.visual.conv1.to(dtype)
        self.blocks = Blocks(network.visual.transformer, dtype, angles)

    def embed_patches(self, pixels: Tensor) -> Tensor:
        """Return float32[n, patches, width], without position embeddings."""
        x: Tensor = self.patches(self.pixels(pixels).to(self.dtype))
        return x.flatten(2).transpose(1, 2).float()


class NamedAsClip(nn.Module):
    """The parameters of both towers, under OpenAI's names where CLIP has the same parameter.

    Each family adds its own `text_projection`.
    """

    def __init__(self, spec: ModelSpec, visual: nn.Module, epsilon: float) -> None:
        super().__init__()
        sizes = spec.architecture
        width = sizes.transformer_width
        self.visual = visual
        self.token_embedding = nn.Embedding(sizes.vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(sizes.context_length, width))
        self.transformer = resblocks(spec, width, sizes.transformer_heads, sizes.transformer_layers, epsilon)
        self.ln_final = nn.LayerNorm(width, epsilon)
