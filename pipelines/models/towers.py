"""The CLIP network of a weights file, and its two towers arranged to do only the work that reaches the embedding.

The network is `towhee.models.clip.CLIP`. The towers compute what it computes: of the last block only one position per
item is read (the class token of an image, the end-of-text token of a text; `clip/model.py` of
github.com/openai/CLIP), so only that one is computed; and each batch norm is folded into the convolution before it.
Matrices are multiplied in `dtype`, sums and norms stay in float32.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode

from ..errors import ModelError
from ..towhee_compat import import_clip
from .checkpoints import guess_model, load_state_dict
from .spec import ModelSpec


def build_network(spec: ModelSpec, weights_path: Path) -> Any:
    """Build the network in float32 on the CPU, in the registry's sizes (several in Towhee's own table are wrong).

    Raises:
        ModelError: the tensors are those of another model, which the message names where it is a known one.
    """
    network = empty_network(spec)
    state = load_state_dict(weights_path)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    wrong = [name for name, shape in expected.items() if name not in state or tuple(state[name].shape) != shape]
    wrong = [name for name in wrong if not name.endswith("num_batches_tracked")]
    if wrong:
        raise ModelError(
            f"{weights_path} does not hold {spec.name}: {len(wrong)} tensors are missing or of another size, "
            f"'{wrong[0]}' first; {guess_model(state)}"
        )
    network.load_state_dict({name: state[name] for name in expected if name in state}, strict=False, assign=True)
    return network.eval().requires_grad_(False)


def empty_network(spec: ModelSpec) -> Any:
    """Build the network without weights: allocated, but not filled with random numbers, which would take seconds."""
    with _NoRandomNumbers():
        network = import_clip().CLIP(**asdict(spec.architecture))
    set_activation(network, spec.activation)
    return network.eval().requires_grad_(False)


def set_activation(network: Any, activation: str) -> None:
    """Set the activation of the blocks: Towhee's have QuickGELU, 'gelu' replaces it by the exact GELU."""
    if activation == "gelu":
        for module in network.modules():
            if hasattr(module, "gelu"):
                module.gelu = nn.GELU()


class _NoRandomNumbers(TorchFunctionMode):
    """While this mode is on, torch leaves memory as it is where it would draw random numbers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.randn:
            func = torch.empty
        if getattr(func, "__name__", "") in ("normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def image_tower(network: Any, spec: ModelSpec, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return the tower for uint8[n, size, size, 3] RGB → float32[n, dim], not normalised.

    It shares the network's weights, like `TextTower`.
    """
    is_vit = spec.architecture.vision_patch_size is not None
    return (VitTower if is_vit else ResNetTower)(network, spec, dtype)


class _Pixels(nn.Module):
    """uint8[n, size, size, 3] → the normalised float32[n, 3, size, size] that the network was trained on."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1) * 255)

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std


class _Blocks(nn.Module):
    """Residual attention blocks over float32[n, length, width]; the last one computes one position only."""

    def __init__(self, transformer: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self._all: Any = nn.ModuleList(transformer.resblocks)
        self.dtype = dtype
        for block in self._all:
            block.attn.to(dtype)
            block.mlp.to(dtype)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        for block in self._all[:-1]:
            normed = block.ln_1(x).to(self.dtype)
            # Three products instead of one split in three: in OpenVINO the split costs more than it saves.
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
        query, key, value = (_split_heads(part, heads) for part in (query, key, value))
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        x = x + block.attn.out_proj(mixed.transpose(1, 2).flatten(2)).float()
        x = x + block.mlp(block.ln_2(x).to(self.dtype)).float()
        return x


def _projections(block: Any) -> tuple[tuple[Tensor, Tensor], ...]:
    """Return weight and bias of query, key and value."""
    return tuple(zip(block.attn.in_proj_weight.chunk(3), block.attn.in_proj_bias.chunk(3), strict=True))


def _split_heads(x: Tensor, heads: int) -> Tensor:
    return torch.unflatten(x, 2, (heads, x.shape[2] // heads)).transpose(1, 2)


class VitTower(nn.Module):
    """The image tower of the ViT models."""

    def __init__(self, network: Any, spec: ModelSpec, dtype: torch.dtype) -> None:
        super().__init__()
        self.visual, self.dtype = network.visual, dtype
        self.pixels = _Pixels(spec)
        self.patches = network.visual.conv1.to(dtype)
        self.blocks = _Blocks(network.visual.transformer, dtype)

    def forward(self, pixels: Tensor) -> Tensor:
        visual = self.visual
        patches = self.patches(self.pixels(pixels).to(self.dtype)).flatten(2).transpose(1, 2).float()
        first = visual.class_embedding.expand(patches.shape[0], 1, -1)
        x = visual.ln_pre(torch.cat([first, patches], dim=1) + visual.positional_embedding)
        x = self.blocks(x)
        x = self.blocks.last(x, torch.zeros(x.shape[0], dtype=torch.long, device=x.device))
        embeddings: Tensor = visual.ln_post(x) @ visual.proj
        return embeddings


class TextTower(nn.Module):
    """int64[n, length] tokens, each row with its end of text → float32[n, dim], not normalised.

    Attention is causal: positions after the end of the text change nothing.
    """

    def __init__(self, network: Any, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.tokens, self.final = network.token_embedding, network.ln_final
        self.positions, self.projection = network.positional_embedding, network.text_projection
        self.blocks = _Blocks(network.transformer, dtype)

    def forward(self, tokens: Tensor) -> Tensor:
        ends = tokens.argmax(dim=-1)  # the end of text has the highest id
        x = self.tokens(tokens) + self.positions[: tokens.shape[1]]
        x = self.blocks(x, causal=True)
        seen = torch.arange(tokens.shape[1], device=tokens.device) <= ends[:, None]
        embeddings: Tensor = self.final(self.blocks.last(x, ends, seen)) @ self.projection
        return embeddings


class ResNetTower(nn.Module):
    """The image tower of the ResNet models."""

    def __init__(self, network: Any, spec: ModelSpec, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.pixels = _Pixels(spec)
        self.visual = network.visual.eval()
        _fuse_batch_norms(self.visual)
        self.visual.to(dtype, memory_format=torch.channels_last)

    def forward(self, pixels: Tensor) -> Tensor:
        visual = self.visual
        x = self.pixels(pixels).to(self.dtype, memory_format=torch.channels_last)
        for convolution in (visual.conv1, visual.conv2, visual.conv3):
            x = visual.relu(convolution(x))
        x = visual.avgpool(x)
        x = visual.layer4(visual.layer3(visual.layer2(visual.layer1(x))))
        return self._pool(x.flatten(2).transpose(1, 2)).float()

    def _pool(self, x: Tensor) -> Tensor:
        """Pool by attention with the mean over all positions as query, [n, positions, width] → [n, dim]."""
        pool = self.visual.attnpool
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + pool.positional_embedding
        query, key, value = (
            _split_heads(part, pool.num_heads) for part in (pool.q_proj(x[:, :1]), pool.k_proj(x), pool.v_proj(x))
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        embeddings: Tensor = pool.c_proj(mixed.transpose(1, 2).flatten(1))
        return embeddings


def _fuse_batch_norms(visual: Any) -> None:
    """Fold every batch norm into its convolution, in place."""
    from torch.nn import Identity

    pairs = [(visual, f"conv{number}", f"bn{number}") for number in (1, 2, 3)]
    for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        for block in layer:
            pairs += [(block, f"conv{number}", f"bn{number}") for number in (1, 2, 3)]
            if block.downsample is not None:
                pairs.append((block.downsample, "0", "1"))
    for owner, convolution, norm in pairs:
        fused = fuse_conv_bn_eval(getattr(owner, convolution), getattr(owner, norm))
        setattr(owner, convolution, fused)
        setattr(owner, norm, Identity())
