"""A loaded CLIP, which turns images and texts into embeddings."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, ModelError
from ..forks import refuse_fork
from ..settings import Settings
from .file_tokenizer import FileTokenizer, tokenizer_of
from .fingerprint import fingerprint
from .hub_config import check_config
from .model_id import make_model_id, resolve_name
from .multilingual import load_multilingual
from .reading import read_words
from .registry import get_model, list_models
from .runtime import Runtime, choose_runtime, open_runtime
from .spec import ModelSpec, with_own_weights
from .text_models import get_text_model
from .tokenizer import tokenize
from .weights import locate, place_of


@lru_cache(maxsize=4)
def load_model(
    name: str | os.PathLike[str], weights: str = "", device: str = "auto", runtime: str = "auto", threads: int = 0,
    precision: str = "auto", model_url: str = "",
) -> ClipModel:  # fmt: skip
    """Load a model, once per process.

    Args:
        threads: CPU threads; 0 uses one per core available to the process. PyTorch has one setting per process.
        model_url: URL of the model server; needed if `runtime` is 'triton'.

    Raises:
        InputError: the name is unknown, or the runtime does not run here, or not in this precision.
        ModelMismatch: the server runs another model.
        ModelError: the weights are missing, damaged or of another model, the device does not exist, or no server
            answers.
    """
    return ClipModel(get_model(resolve_name(name)), weights, device, runtime, threads, precision, model_url)


@lru_cache(maxsize=2)
def _load_text_model(name: str, model: str, *how: Any) -> ClipModel:
    return ClipModel(get_text_model(name, model), "", *how)


def model_of(settings: Settings) -> ClipModel:
    """Load the model that these settings name (see `resolve_model`). Raises as `load_model` does."""
    return load_model(settings.model, settings.weights, *_how(settings))


def text_model_of(settings: Settings) -> ClipModel:
    """Load the model that encodes texts: the settings' text model if they name one, else the model itself."""
    if settings.text_model:
        return _load_text_model(settings.text_model, settings.model, *_how(settings))
    return model_of(settings)


def _how(settings: Settings) -> tuple[str, str, int, str, str]:
    return settings.device, settings.runtime, settings.threads, settings.precision, settings.model_url


class ClipModel:
    """Both towers of a CLIP on one device. Thread-safe."""

    model_id: str  # stored in every row of a collection

    def __init__(
        self, spec: ModelSpec, weights: str = "", device: str = "auto", runtime: str = "auto", threads: int = 0,
        precision: str = "auto", model_url: str = "",
    ) -> None:  # fmt: skip
        self.spec, self._precision = spec, precision
        self.runtime: Runtime
        if choose_runtime(runtime, device, model_url) == "triton":
            from .triton_runtime import TritonRuntime

            if weights:
                raise InputError("--weights goes where the model is exported: image-search export-model --weights FILE")
            self._path = place_of(spec)  # the tokenizer is beside it; the weights may be elsewhere
            self.runtime = remote = TritonRuntime(spec, model_url, precision)
            self.model_id = remote.model_id
            return
        self._path, sha256 = find_weights(spec, weights)
        self.spec = with_own_weights(spec) if weights else spec
        self.model_id = make_model_id(spec.name, sha256, spec.recipe)
        self.runtime = open_runtime(spec, self._path, sha256, runtime, device, threads, precision)

    def __deepcopy__(self, memo: object) -> ClipModel:
        """Return this model itself: Towhee deep-copies the objects in a pipeline's declaration."""
        return self

    @property
    def description(self) -> str:
        """Runtime, precision and device in words: 'openvino fp32 on cpu'."""
        advice = " (--precision int8 would be faster)" if self._is_slow else ""
        return f"{self.runtime.name} {self.runtime.precision} on {self.runtime.device}{advice}"

    @property
    def _is_slow(self) -> bool:
        """Whether float32 was chosen because this CPU has no faster precision that is safe without calibration."""
        return self._precision == "auto" and (self.runtime.name, self.runtime.precision) == ("openvino", "fp32")

    @property
    def default_batch_size(self) -> int:
        """Number of images per call that keeps this kind of device fast and fits its memory."""
        return self.runtime.default_batch_size

    def prepare_texts(self) -> None:
        """Do the setup that would otherwise delay the first text."""
        self.runtime.prepare_texts()

    def calibrate(self, read_images: Callable[[], np.ndarray]) -> None:
        """Calibrate int8 on the images that `read_images` returns, uint8[n, size, size, 3].

        Other precisions need no calibration.

        Raises:
            InputError: there are too few images, or int8 would change the embeddings too much.
        """
        self.runtime.calibrate(read_images)

    def embed_images(self, images: np.ndarray) -> np.ndarray:
        """uint8[n, size, size, 3] RGB → float32[n, dim], not normalised."""
        refuse_fork()
        return self.runtime.embed_images(images)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """n texts → float32[n, dim], not normalised. Texts that are too long for the model are truncated."""
        if not texts:
            return np.empty((0, self.spec.dim), np.float32)
        refuse_fork()
        if self._tokenizer is not None:
            return self.runtime.embed_texts(self._tokenizer(texts))
        tokens = tokenize(texts, self.spec.context_length)
        # Attention is causal and the embedding is read at the end of text, so the zeros after it change nothing.
        return self.runtime.embed_texts(tokens[:, : tokens.argmax(axis=1).max() + 1])

    def is_cut(self, text: str) -> bool:
        """Return whether a text has more tokens than the model reads."""
        length = self.spec.context_length
        if len(text.encode(errors="replace")) <= length - 2:  # a token is at least one byte
            return False
        return self._tokenizer.is_cut(text) if self._tokenizer else bool(tokenize([text], length + 1)[0, -1])

    def embed_any(self, texts: Sequence[str], language: str = "") -> np.ndarray:
        """Like `embed_texts`, but choose the tower by each text's language, or translate its everyday words.

        Args:
            language: language of all texts; '' detects it for each text.
        """
        read = [read_words(text, self.spec, language) for text in texts]
        embeddings = np.empty((len(texts), self.spec.dim), np.float32)
        for tower, embed in (("own", self.embed_texts), ("multilingual", _embed_multilingual)):
            rows = [row for row, one in enumerate(read) if one.tower == tower]
            if rows:
                embeddings[rows] = embed([read[row].words for row in rows])
        return embeddings

    @cached_property
    def _tokenizer(self) -> FileTokenizer | None:
        return tokenizer_of(self.spec, self._path) if self.spec.has_own_tokenizer else None


def find_weights(spec: ModelSpec, weights: str = "") -> tuple[Path, str]:
    """Return a model's weights file and its SHA-256; download the file if it is missing.

    Raises:
        ModelError: the weights are missing, or known to be those of another model.
    """
    path = locate(spec, weights)
    sha256 = fingerprint(path)
    _check_identity(spec, path, sha256)
    is_known = check_config(spec, path) or sha256 == spec.weights.sha256
    if weights and not is_known:
        taken = f"{spec.activation} is taken, as {spec.name} has it"
        print(f"nothing beside {path} says its activation: {taken}", file=sys.stderr)
    return path, sha256


def _check_identity(spec: ModelSpec, path: Path, sha256: str) -> None:
    """Reject a file that is known to hold another model: only the hash distinguishes models of equal sizes."""
    for other in list_models():
        if other.weights.sha256 == sha256 and other.name != spec.name:
            raise ModelError(f"{path} holds {other.name}, not {spec.name}: use --model {other.name}")
    if spec.weights.path == path and spec.weights.sha256 not in ("", sha256):
        raise ModelError(f"{path} is not the file that model.json beside it was written for: train again")


def _embed_multilingual(texts: Sequence[str]) -> np.ndarray:
    return load_multilingual().embed_texts(texts)
