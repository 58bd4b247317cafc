"""The description of a model: its sizes, preprocessing, weights file and licence."""

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
# Parts of every recipe. Change them whenever `images.preprocess` or `tokenizer` gives other pixels or tokens.
RESIZE, TOKENIZER = "bicubic, antialiased, centre crop", "CLIP's BPE, lower case"


@dataclass(frozen=True)
class Weights:
    """A weights file: one on this disk (`path`), one on the Hugging Face hub (`hub_file`), or one at a `url`.

    file: its name in the cache folder; a file that the user put there is used instead of a download.
    others: other names that the file may have on the hub.
    beside: a second file with the tensors that the first one lacks.
    sha256: '' if no SHA-256 is published.
    revision: commit of the hub's repository; if it is '', the first download resolves `main` and records the commit.
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
# How a text is cleaned before a tokenizer from a file reads it; '' leaves it as it is.
Cleaning = Literal["", "whitespace", "lower", "canonicalize"]


@dataclass(frozen=True)
class ModelSpec:
    """Everything that describes a model, from the registry, a model folder or the hub.

    `activation` cannot be read from a weights file: OpenAI trained with QuickGELU (x·sigmoid(1.702x)), LAION and
    DataComp with the exact GELU. With the wrong one the embeddings look plausible but the hits get worse.

    text: a text encoder that replaces CLIP's; its tokenizer is in a file beside the weights.
    squash, bilinear: see `Fit`.
    languages: those that the model was trained on, or that the text tower of `second_tower` reads.
    second_tower: True for `builtin`, which has a second text tower for all languages except English.
    note: what the model is good for, or what it was trained from.
    gflops, megabytes: cost of one image and size of the download; 0 if unknown.
    fits: for the family "text", a text encoder alone: the models whose image embeddings it searches.
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
        """Maximum number of tokens that the model reads of a text."""
        return self.text.context_length if self.text else self.architecture.context_length

    @property
    def has_own_tokenizer(self) -> bool:
        """Whether the tokenizer is in a file beside the weights instead of being CLIP's."""
        return self.text is not None or self.family == "siglip"

    @property
    def recipe(self) -> str:
        """Start of a SHA-256 of everything that determines an embedding, except the weights."""
        values = {**card_values(self), "resize": RESIZE, "tokenizer": TOKENIZER}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def with_own_weights(spec: ModelSpec) -> ModelSpec:
    """Return the spec of a model with the user's own weights: `builtin`'s second tower fits only its own weights."""
    return dataclasses.replace(spec, languages=("en",), second_tower=False) if spec.second_tower else spec


def card_values(spec: ModelSpec) -> dict[str, Any]:
    """Return, as JSON values, everything that determines an embedding except the weights.

    Values that no CLIP has are left out unless set. `model_folder.model_values` reads the values of a CLIP back.
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
