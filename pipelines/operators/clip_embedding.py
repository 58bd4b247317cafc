"""CLIP embeddings of images and texts: `ops.image_text_embedding.clip(model_name=…, modality=…)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..images.preprocess import resize_and_crop
from ..models.clip import ClipModel, load_model


class ClipEmbedding:
    """Embeds one item, or a list in one model call. Not normalised: that is the next step's work.

    Args:
        model_name: a loaded model, or the name of one in the registry, 'clip_vit_base_patch32' for example.
        modality: 'image' or 'text'.
        device: 'auto', 'cpu', 'cuda', 'mps', or a number as the hub's operator takes it (0 is 'cuda:0', -1 the CPU).
        weights: a weights file to use instead of the registry's.
        runtime: 'pytorch', 'openvino', or 'auto' for the faster one here.
    """

    def __init__(
        self, model_name: str | ClipModel, modality: str, device: str | int | None = "auto",
        weights: str = "", runtime: str = "auto",
    ) -> None:  # fmt: skip
        if modality not in ("image", "text"):
            raise ValueError(f"modality is 'image' or 'text', not '{modality}'")
        self._is_text = modality == "text"
        if isinstance(model_name, str):
            model_name = load_model(model_name, weights, _device_name(device), runtime)
        self._model = model_name

    def __call__(self, items: Any) -> np.ndarray:
        """A text, or an image as uint8[h, w, 3] RGB → float32[dim]; a list of n → float32[n, dim].

        An image without pixels (it could not be decoded) gives NaN, which is never stored and finds nothing.
        """
        if isinstance(items, str) or (isinstance(items, np.ndarray) and items.ndim == 3):
            return np.asarray(self._embed([items])[0])
        return self._embed(items)

    def _embed(self, items: Sequence[Any]) -> np.ndarray:
        if self._is_text:
            return self._model.embed_texts(list(items))
        present = [index for index, item in enumerate(items) if item.size]
        embeddings = np.full((len(items), self._model.spec.dim), np.nan, np.float32)
        if present:
            embeddings[present] = self._model.embed_images(np.stack([self._fit(items[index]) for index in present]))
        return embeddings

    def _fit(self, image: np.ndarray) -> np.ndarray:
        """An image that was not decoded to the model's size gets there now."""
        size = self._model.spec.image_size
        return image if image.shape == (size, size, 3) else resize_and_crop(image, size)


def _device_name(device: str | int | None) -> str:
    if isinstance(device, int):
        return f"cuda:{device}" if device >= 0 else "cpu"
    return device or "auto"
