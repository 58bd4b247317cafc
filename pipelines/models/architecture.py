"""Sizes of the two towers, read from a model's card or configuration. Sizes that no model has are rejected."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

# Upper limits, above the sizes of any model: the largest vocabularies have 256,000 tokens, the deepest towers 80
# layers, the finest images 1,024 patches. Attention compares each patch or token with every other one.
_LARGEST_SIZE, _MOST_LAYERS, _MOST_PATCHES = 2**20, 500, 64**2
_LARGEST = {"image_resolution": 4096, "context_length": 8192, "positions": 8192}


@dataclass(frozen=True)
class Architecture:
    """Sizes of both towers. The first ten fields are the arguments of `towhee.models.clip.CLIP`.

    `vision_layers` is the number of transformer layers of a ViT, or the four stage depths of a ResNet.
    If `vision_heads` is 0, there is one head per 64 of the width. If `mlp_width` is 0, it is four times the width.
    """

    embed_dim: int
    image_resolution: int
    vision_layers: int | tuple[int, int, int, int]
    vision_width: int
    vision_patch_size: int | None
    transformer_width: int
    transformer_heads: int
    transformer_layers: int
    context_length: int = 77
    vocab_size: int = 49408
    vision_heads: int = 0
    mlp_width: int = 0

    def __post_init__(self) -> None:
        _check_sizes(self)
        _check_heads(self.transformer_width, self.transformer_heads)
        if (self.image_resolution // (self.vision_patch_size or 32)) ** 2 > _MOST_PATCHES:
            raise ValueError(f"image_resolution {self.image_resolution} has too many patches")
        if self.vision_heads:
            _check_heads(self.vision_width, self.vision_heads)

    def values(self) -> dict[str, Any]:
        """Return the sizes by name, without zeros: the fields that may be 0 are newer than some model folders."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value != 0}


@dataclass(frozen=True)
class TextEncoder:
    """Sizes of a BERT (BERT, RoBERTa, XLM-R or DistilBERT) that encodes texts instead of CLIP's own tower.

    first_position: index of the first position embedding; XLM-R's positions start at 2.
    padding: id of the token that pads short rows.
    pooling: how a text is pooled: the mean over its tokens, or its first token.
    head: widths of the linear layers after pooling, with a GELU between them; the last is the embedding's dimension.
    """

    vocab_size: int
    context_length: int
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_width: int = 3072
    positions: int = 512
    token_types: int = 2
    first_position: int = 0
    padding: int = 0
    epsilon: float = 1e-12
    pooling: Literal["mean", "first"] = "mean"
    head: tuple[int, ...] = (512,)
    head_bias: bool = False

    def __post_init__(self) -> None:
        _check_sizes(self)
        _check_heads(self.width, self.heads)


def _check_sizes(sizes: Architecture | TextEncoder) -> None:
    """Reject sizes that no model has: building such a network would exhaust the memory or never end.

    Raises:
        ValueError: a size is out of range; the message names it.
    """
    for field in dataclasses.fields(sizes):
        value = getattr(sizes, field.name)
        if field.type == "int" and type(value) is not int:
            raise ValueError(f"{field.name} must be a whole number")
        largest = _MOST_LAYERS if field.name.endswith("layers") else _LARGEST.get(field.name, _LARGEST_SIZE)
        for number in value if isinstance(value, tuple) else (value,):
            if type(number) is int and not 0 <= number <= largest:
                raise ValueError(f"{field.name} {number} is the size of no model")


def _check_heads(width: int, heads: int) -> None:
    if not heads or width % heads:
        raise ValueError(f"a width of {width} cannot be divided among {heads} heads")
