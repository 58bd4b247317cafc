"""A loaded CLIP: images and texts to embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ModelError
from .registry import ModelSpec, get_model, list_models
from .runtime import open_runtime
from .tokenizer import tokenize
from .weights import fingerprint, locate

if TYPE_CHECKING:
    from ..settings import Settings


@lru_cache(maxsize=4)
def load_model(name: str, weights: str = "", device: str = "auto", runtime: str = "auto") -> ClipModel:
    """Loads a model once per process; the image and the text operator share it.

    Raises:
        InputError: unknown name, or no such runtime here.
        ModelError: the weights are missing, damaged or of another model, or there is no such device.
    """
    return ClipModel(get_model(name), weights, device, runtime)


def model_of(settings: Settings) -> ClipModel:
    """The model of these settings, in which it is settled (`Settings.with_model_of`). Raises as `load_model`."""
    return load_model(settings.model, settings.weights, settings.device, settings.runtime)


class ClipModel:
    """Both towers of a CLIP on one device. Thread-safe."""

    def __init__(self, spec: ModelSpec, weights: str = "", device: str = "auto", runtime: str = "auto") -> None:
        self.spec = spec
        path = locate(spec, weights)
        sha256 = fingerprint(path)
        _check_name(spec, str(path), sha256)
        if spec.weights.path == path and spec.weights.sha256 not in ("", sha256):
            raise ModelError(f"{path} is not the file that model.json beside it was written for: train again")
        # Rows of a collection carry this: embeddings of other weights are not comparable.
        self.model_id = f"{spec.name}@{sha256[:12]}"
        self.runtime = open_runtime(spec, path, sha256, runtime, device)

    def __deepcopy__(self, memo: object) -> ClipModel:
        """Return this model itself: Towhee deep-copies what a pipeline's declaration holds."""
        return self

    @property
    def description(self) -> str:
        """What runs it and where, for a person: 'openvino fp32 on cpu'."""
        return f"{self.runtime.name} {self.runtime.precision} on {self.runtime.device}"

    @property
    def default_batch_size(self) -> int:
        """Images per call at which this kind of device is fast and its memory safe."""
        return self.runtime.default_batch_size

    def embed_images(self, images: np.ndarray) -> np.ndarray:
        """uint8[n, size, size, 3] RGB → float32[n, dim], not normalised."""
        return self.runtime.embed_images(images)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """n texts → float32[n, dim], not normalised. A text beyond 77 tokens is cut."""
        if not texts:
            return np.empty((0, self.spec.dim), np.float32)
        tokens = tokenize(texts, self.spec.architecture.context_length)
        # Attention is causal and the embedding is read at the end of text, so the zeros behind it cannot matter.
        return self.runtime.embed_texts(tokens[:, : tokens.argmax(axis=1).max() + 1])


def _check_name(spec: ModelSpec, path: str, sha256: str) -> None:
    """Models of equal sizes differ in what no tensor shows (the activation); a known file shows it by its hash."""
    for other in list_models():
        if other.weights.sha256 == sha256 and other.name != spec.name:
            raise ModelError(f"{path} holds {other.name}, not {spec.name}: use --model {other.name}")
