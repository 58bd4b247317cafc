"""What describes a model: its sizes, preprocessing, weights file and licence; in the registry or in a model folder.

A model folder, written by `image-search train`, holds the weights and a JSON card with what tensors cannot tell.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..errors import InputError, ModelError

WEIGHTS_FILE = "model.safetensors"
NEXT_FILE = "next.safetensors"  # while new weights take the place of others
CARD_FILE = "model.json"

# Mean and standard deviation of the images CLIP was trained on, RGB, for values in 0..1.
# Source: `_transform` in clip/clip.py of github.com/openai/CLIP.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
# Change these with `images.preprocess` and `tokenizer`, whenever they give other pixels or other tokens.
RESIZE, TOKENIZER = "bicubic, antialiased, centre crop", "CLIP's BPE, lower case"


@dataclass(frozen=True)
class Architecture:
    """Sizes of a `towhee.models.clip.CLIP`.

    `vision_layers` is the number of transformer layers of a ViT, or the four stage depths of a ResNet.
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


@dataclass(frozen=True)
class Weights:
    """A weights file: one on this disk (`path`), one on the Hugging Face hub (`hub_file`), or one at a `url`.

    file: its name in the cache folder; a file that the user put there comes before any download.
    sha256: '' where no SHA-256 is published.
    revision: commit of the hub's repository; '' where none is published, then `main` is resolved and recorded.
    """

    file: str
    sha256: str = ""
    path: Path | None = None
    url: str = ""
    repository: str = ""
    revision: str = ""
    hub_file: str = ""

    @property
    def source(self) -> str:
        """The public address of the file; '' for one that needs no download."""
        hub = f"https://huggingface.co/{self.repository}/resolve/{self.revision or 'main'}/{self.hub_file}"
        return hub if self.hub_file else self.url


class Quality(NamedTuple):
    """Text→image recall@1 in percent, zero-shot: Flickr30k (1,000 test images) and COCO (5,000)."""

    flickr: float
    coco: float


@dataclass(frozen=True)
class ModelSpec:
    """A model as the registry or a model folder describes it.

    `languages` are those of the texts that it was trained on, or that a text tower of its own reads.
    `activation` cannot be read from a weights file: OpenAI trained with QuickGELU (x·sigmoid(1.702x)), LAION and
    DataComp with the exact GELU. With the wrong one the embeddings look plausible and search gets worse.
    """

    name: str
    architecture: Architecture
    weights: Weights
    licence: str
    quality: Quality | None = None
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"
    note: str = ""
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    languages: tuple[str, ...] = ("en",)

    @property
    def dim(self) -> int:
        """Dimension of the embeddings."""
        return self.architecture.embed_dim

    @property
    def image_size(self) -> int:
        """Edge of the square input image, in pixels."""
        return self.architecture.image_resolution

    @property
    def recipe(self) -> str:
        """Start of a SHA-256 of all but the weights that decides an embedding."""
        values = {**card_values(self), "resize": RESIZE, "tokenizer": TOKENIZER}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def read_folder(folder: Path) -> ModelSpec:
    """Read a model folder. The model's name is the absolute path, by which a collection finds it again.

    Raises:
        InputError: there is no such folder.
        ModelError: a file is missing or invalid.
    """
    if not folder.is_dir():
        raise InputError(f"there is no model folder {folder}; if it was moved, say where it is now: --model PATH")
    how = "it must be a folder that `image-search train` wrote"
    path = folder / CARD_FILE
    for file in (path, folder / WEIGHTS_FILE):
        if not file.is_file():
            raise ModelError(f"{folder} holds no {file.name}: {how}; is the training finished?")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        weights = NEXT_FILE if card.get("weights") == NEXT_FILE else WEIGHTS_FILE
        return ModelSpec(
            name=str(folder),
            weights=Weights(weights, sha256=str(card["sha256"]), path=folder / weights),
            licence=str(card["licence"]),
            note=f"trained from {card.get('base', 'nothing')}",
            **model_values(card),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:160]
        raise ModelError(f"{path} does not describe a model: {reason}; {how}") from error


def model_values(card: Mapping[str, Any]) -> dict[str, Any]:
    """Read architecture, activation, mean and deviation from JSON, as arguments of `ModelSpec`.

    Raises:
        KeyError, TypeError, ValueError: a value is missing or invalid.
    """
    sizes = dict(card["architecture"])
    if isinstance(sizes.get("vision_layers"), list):
        sizes["vision_layers"] = tuple(sizes["vision_layers"])
    for name, value in sizes.items():
        parts = value if isinstance(value, tuple) else (value,)
        absent = name == "vision_patch_size" and value is None
        if not absent and not all(type(part) is int and part > 0 for part in parts):
            raise ValueError(f"architecture.{name} must be a positive whole number")
    if card["activation"] not in ("quick_gelu", "gelu"):
        raise ValueError("activation must be quick_gelu or gelu")
    return {
        "architecture": Architecture(**sizes), "activation": card["activation"],
        "mean": _channels(card, "mean"), "std": _channels(card, "std"),
    }  # fmt: skip


def card_values(spec: ModelSpec) -> dict[str, Any]:
    """Return the JSON values from which `model_values` restores a model."""
    return {
        "architecture": dataclasses.asdict(spec.architecture), "activation": spec.activation,
        "mean": list(spec.mean), "std": list(spec.std),
    }  # fmt: skip


def _channels(card: Mapping[str, Any], name: str) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in card[name])
    return red, green, blue
