"""What describes a model: its sizes, preprocessing, weights file and licence."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..images.fit import Fit
from .architecture import Architecture, TextEncoder

# Mean and standard deviation of the images CLIP was trained on, RGB, for values in 0..1.
# Source: `_transform` in clip/clip.py of github.com/openai/CLIP.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
# Change these with `images.preprocess` and `tokenizer`, whenever they give other pixels or other tokens.
RESIZE, TOKENIZER = "bicubic, antialiased, centre crop", "CLIP's BPE, lower case"


@dataclass(frozen=True)
class Weights:
    """A weights file: one on this disk (`path`), one on the Hugging Face hub (`hub_file`), or one at a `url`.

    file: its name in the cache folder; a file that the user put there comes before any download.
    others: names that the file may have on the hub instead.
    beside: a second file with the tensors that the first one lacks.
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
    others: tuple[str, ...] = ()
    beside: str = ""

    @property
    def source(self) -> str:
        """The public address of the file; '' for one that needs no download."""
        hub = f"https://huggingface.co/{self.repository}/resolve/{self.revision or 'main'}/{self.hub_file}"
        return hub if self.hub_file else self.url


class Quality(NamedTuple):
    """Text→image recall@1 in percent, zero-shot: Flickr30k (1,000 test images) and COCO (5,000)."""

    flickr: float
    coco: float


Family = Literal["clip", "siglip", "pe", "text"]
Activation = Literal["quick_gelu", "gelu", "gelu_tanh"]
# What is done to a text before a tokenizer of a file reads it; '' is nothing.
Cleaning = Literal["", "whitespace", "lower", "canonicalize"]


@dataclass(frozen=True)
class ModelSpec:
    """All that a model needs, as the registry, a model folder or the hub describes it.

    `activation` cannot be read from a weights file: OpenAI trained with QuickGELU (x·sigmoid(1.702x)), LAION and
    DataComp with the exact GELU. With the wrong one the embeddings look plausible and search gets worse.

    text: a text encoder in the place of CLIP's; it has a tokenizer of its own, in a file beside the weights.
    squash, bilinear: see `Fit`.
    languages: those that it was trained on, or that the text tower of `second_tower` reads.
    second_tower: `builtin` has another text tower for all languages but English.
    note: what to take it for, or what it was trained from.
    gflops, megabytes: of one image, and of the download; 0 where nobody counted.
    fits: of a model of the family "text", which is a text encoder alone: the models whose images it searches.
    """

    name: str
    architecture: Architecture
    weights: Weights
    licence: str
    quality: Quality | None = None
    activation: Activation = "quick_gelu"
    note: str = ""
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    languages: tuple[str, ...] = ("en",)
    family: Family = "clip"
    text: TextEncoder | None = None
    squash: bool = False
    bilinear: bool = False
    cleaning: Cleaning = ""
    second_tower: bool = False
    fits: tuple[str, ...] = ()
    gflops: float = 0
    megabytes: int = 0

    @property
    def dim(self) -> int:
        """Dimension of the embeddings."""
        return self.architecture.embed_dim

    @property
    def image_size(self) -> int:
        """Edge of the square input image, in pixels."""
        return self.architecture.image_resolution

    @property
    def fit(self) -> Fit:
        """How an image becomes the model's input."""
        return Fit(self.image_size, self.squash, self.bilinear)

    @property
    def context_length(self) -> int:
        """Tokens of a text that the model reads."""
        return self.text.context_length if self.text else self.architecture.context_length

    @property
    def has_own_tokenizer(self) -> bool:
        """Whether texts are read by a tokenizer in a file beside the weights, not by CLIP's."""
        return self.text is not None or self.family == "siglip"

    @property
    def recipe(self) -> str:
        """Start of a SHA-256 of all but the weights that decides an embedding."""
        values = {**card_values(self), "resize": RESIZE, "tokenizer": TOKENIZER}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def with_own_weights(spec: ModelSpec) -> ModelSpec:
    """Return the model as it is with weights of the user's own: `builtin`'s second tower fits only those it ships."""
    return dataclasses.replace(spec, languages=("en",), second_tower=False) if spec.second_tower else spec


def card_values(spec: ModelSpec) -> dict[str, Any]:
    """Return the JSON values of all but the weights that decides an embedding; those that no CLIP has only if set.

    `model_values` of a model folder restores a CLIP from them.
    """
    beyond_clip = {
        "family": spec.family, "text": spec.text and dataclasses.asdict(spec.text), "squash": spec.squash,
        "bilinear": spec.bilinear, "cleaning": spec.cleaning,
    }  # fmt: skip
    return {
        "architecture": spec.architecture.values(), "activation": spec.activation,
        "mean": list(spec.mean), "std": list(spec.std),
        **{name: value for name, value in beyond_clip.items() if value and value != "clip"},
    }  # fmt: skip
