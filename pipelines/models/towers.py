"""CLIP's two towers, arranged to do only the work that reaches the embedding.

The network is `towhee.models.clip.CLIP`, and the towers compute the same embeddings. CLIP reads only one position per
item from the last block (the class token of an image, the end-of-text token of a text; `clip/model.py` of
github.com/openai/CLIP), so the last block computes only that position. Each batch norm is folded into the convolution
before it. Matrices are multiplied in `dtype`; sums and norms stay in float32.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..towhee_compat import import_clip
from .architecture import Architecture
from .blocks import Blocks, PatchTower, Pixels, activation_of, split_heads
from .spec import Activation, ModelSpec


def clip_network(spec: ModelSpec) -> Any:
    """Return Towhee's network with the registry's sizes (several in Towhee's own table are wrong).

    For a model with its own text encoder, return only the image tower.
    """
    clip, sizes = import_clip(), spec.architecture
    plain = dataclasses.replace(sizes, vision_heads=0, mlp_width=0).values()
    network = _OnlyImages(clip, sizes) if spec.text else clip.CLIP(**plain)
    set_activation(network, spec.activation)
    if sizes.vision_heads:  # Towhee sets one head per 64 of the width; the number changes no tensor's size
        for block in network.visual.transformer.resblocks:
            block.attn.num_heads, block.attn.head_dim = sizes.vision_heads, sizes.vision_width // sizes.vision_heads
    return network


class _OnlyImages(nn.Module):
    """The image tower of a CLIP whose text encoder is another network."""

    def __init__(self, clip: Any, sizes: Architecture) -> None:
        super().__init__()
        layers, width = sizes.vision_layers, sizes.vision_width
        heads = sizes.vision_heads or width // 64
        if isinstance(layers, tuple):
            heads = sizes.vision_heads or width * 32 // 64
            self.visual = clip.ModifiedResNet(layers, sizes.embed_dim, heads, sizes.image_resolution, width)
        else:
            self.visual = clip.VisionTransformer(
                sizes.image_resolution, sizes.vision_patch_size, width, layers, heads, sizes.embed_dim
            )


def set_activation(network: Any, activation: Activation) -> None:
    """Set the activation of the blocks; Towhee's have QuickGELU."""
    if activation != "quick_gelu":
        for module in network.modules():
            if hasattr(module, "gelu"):
                module.gelu = activation_of(activation)


def clip_image_tower(network: Any, spec: ModelSpec, dtype: torch.dtype) -> nn.Module:
    """Return the tower for uint8[n, size, size, 3] RGB → float32[n, dim], not normalised."""
    is_vit = spec.architecture.vision_patch_size is not None
    return (VitTower if is_vit else ResNetTower)(network, spec, dtype)


class VitTower(PatchTower):
    """The image tower of the ViT models."""

    def forward(self, pixels: Tensor) -> Tensor:
        visual = self.visual
        patches = self.embed_patches(pixels)
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
        self.blocks = Blocks(network.transformer, dtype)

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
        self.pixels = Pixels(spec)
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
            split_heads(part, pool.num_heads) for part in (pool.q_proj(x[:, :1]), pool.k_proj(x), pool.v_proj(x))
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
