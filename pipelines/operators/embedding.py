"""Embedding: `ops.image_text_embedding.clip(model_name=…, modality=…)` and `ops.towhee.np_normalize()`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..images.preprocess import resize_and_crop
from ..models.clip import ClipModel, load_model
from ..models.model_id import resolve_name
from ..models.multilingual import MultilingualTower


class ClipEmbedding:
    """Embeds one item, or a list in one model call. Embeddings are not normalised.

    Args:
        model_name: a loaded model or text tower, or the name of a model, 'clip_vit_base_patch32' for example.
        modality: 'image' or 'text'.
        device: 'auto', 'cpu', 'cuda', 'mps', or a number as for the hub's operator: 0 is 'cuda:0', -1 the CPU.
        weights: a weights file to use instead of the registry's.
        runtime: 'pytorch', 'openvino', or 'auto' for the faster one here.
    """

    def __init__(
        self, model_name: str | os.PathLike[str] | ClipModel | MultilingualTower, modality: str,
        device: str | int | None = "auto", weights: str = "", runtime: str = "auto",
    ) -> None:  # fmt: skip
        if modality not in ("image", "text"):
            raise ValueError(f"modality is 'image' or 'text', not '{modality}'")
        self._is_text = modality == "text"
        if isinstance(device, int):
            device = f"cuda:{device}" if device >= 0 else "cpu"
        if isinstance(model_name, (str, os.PathLike)):
            # The same arguments as `model_of` gives: one model in memory serves both.
            model_name = load_model(resolve_name(model_name), weights, device or "auto", runtime, 0)
        self._model: Any = model_name

    def __call__(self, items: Any) -> np.ndarray:
        """A text, or an image as uint8[h, w, 3] RGB → float32[dim]; a list of n → float32[n, dim].

        An image without pixels, which could not be decoded, becomes NaN: it is never stored and finds nothing.
        """
        if isinstance(items, str) or (isinstance(items, np.ndarray) and items.ndim == 3):
            return np.asarray(self._embed([items])[0])
        return self._embed(items)

    def _embed(self, items: Sequence[Any]) -> np.ndarray:
        if self._is_text:
            return np.asarray(self._model.embed_texts(list(items)))
        present = [index for index, item in enumerate(items) if item.size]
        embeddings = np.full((len(items), self._model.spec.dim), np.nan, np.float32)
        if present:
            embeddings[present] = self._model.embed_images(np.stack([self._fit(items[index]) for index in present]))
        return embeddings

    def _fit(self, image: np.ndarray) -> np.ndarray:
        """Return the image in the model's size, which the decode operator may not have known."""
        size = self._model.spec.image_size
        return image if image.shape == (size, size, 3) else resize_and_crop(image, size)


class Normalize:
    """Scales embeddings to unit length, so that an inner product is a cosine."""

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """float32[dim] or float32[n, dim] → the same shape, rows of length 1; a zero row becomes NaN, never stored."""
        embeddings = np.asarray(embeddings, np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True))
