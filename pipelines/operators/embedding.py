"""Embedding: `ops.image_text_embedding.clip(model_name=…, modality=…)` and `ops.towhee.np_normalize()`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..images.preprocess import fit_image
from ..models.clip import ClipModel, load_model
from ..models.model_id import resolve_name
from ..models.multilingual import MultilingualTower
from ..models.registry import list_models

_CHINESE_CLIPS = {
    r"b(ase)?(patch)?16": "chinese-clip-vit-base-patch16",
    r"l(arge)?(patch)?14336": "hf:OFA-Sys/chinese-clip-vit-large-patch14-336px",
    r"l(arge)?(patch)?14": "hf:OFA-Sys/chinese-clip-vit-large-patch14",
    r"h(uge)?(patch)?14": "hf:OFA-Sys/chinese-clip-vit-huge-patch14",
}


class ClipEmbedding:
    """Embeds one item, or a list in one model call. Embeddings are not normalised.

    Args:
        model_name: a loaded model or text tower, or the name of a model, 'clip_vit_base_patch32' for example.
        modality: 'image' or 'text'.
        device: 'auto', 'cpu', 'cuda', 'mps', or a number as for the hub's operator: 0 is 'cuda:0', or the CPU on a
            machine without it; -1 is the CPU.
        weights: a weights file to use instead of the registry's; the hub's operator calls it `checkpoint_path`.
        runtime: 'pytorch', 'openvino', 'triton', or 'auto' for the faster one here.
        model_url: the address of the server that runs the model, for 'triton': 'http://host:8000'.
    """

    def __init__(
        self, model_name: str | os.PathLike[str] | ClipModel | MultilingualTower, modality: str,
        device: str | int | None = "auto", weights: str = "", runtime: str = "auto", checkpoint_path: str | None = None,
        model_url: str = "",
    ) -> None:  # fmt: skip
        if modality not in ("image", "text"):
            raise ValueError(f"modality is 'image' or 'text', not '{modality}'")
        self._is_text = modality == "text"
        if isinstance(device, int):
            device = _numbered(device)
        self._by_name = isinstance(model_name, (str, os.PathLike))
        if isinstance(model_name, (str, os.PathLike)):
            # The same arguments as those of `model_of`, so that both share one model in memory.
            model_name = load_model(
                resolve_name(model_name), checkpoint_path or weights, device or "auto", runtime, 0, "auto", model_url
            )
        self._model: Any = model_name

    @staticmethod
    def supported_model_names(format: str | None = None) -> list[str]:
        """Return the names that `model_name` takes, besides folders and repositories of the Hugging Face hub.

        Args:
            format: as for the hub's operator, such as 'onnx': no model is exported, so the list is empty.
        """
        return [] if format else [spec.name for spec in list_models()]

    def train(self, *_: Any, **__: Any) -> None:
        """Say how models are trained here.

        Raises:
            InputError: always.
        """
        raise InputError("the operator does not train: `image-search train captions.csv --model … --out ./my-model`")

    def __call__(self, items: Any) -> np.ndarray:
        """A text, or an image as uint8[h, w, 3] RGB → float32[dim]; a list of n → float32[n, dim].

        An image without pixels, which could not be decoded, becomes NaN: it is never stored and finds nothing.
        """
        if isinstance(items, str) or (isinstance(items, np.ndarray) and items.ndim == 3):
            return np.asarray(self._embed([items])[0])
        return self._embed(items)

    def _embed(self, items: Sequence[Any]) -> np.ndarray:
        if self._is_text:
            embed = self._model.embed_any if self._by_name else self._model.embed_texts
            return np.asarray(embed(list(items)))
        present = [index for index, item in enumerate(items) if item.size]
        embeddings = np.full((len(items), self._model.spec.dim), np.nan, np.float32)
        if present:
            embeddings[present] = self._model.embed_images(np.stack([self._fit(items[index]) for index in present]))
        return embeddings

    def _fit(self, image: np.ndarray) -> np.ndarray:
        """Return the image in the model's input size, which the decode operator may not have known."""
        fit = self._model.spec.fit
        return image if image.shape == (fit.size, fit.size, 3) else fit_image(image, fit)


def _numbered(device: int) -> str:
    """Return the device of a number, as Towhee's tutorials use it; the CPU if there is no such GPU."""
    if device < 0:
        return "cpu"
    import torch

    if device < torch.cuda.device_count():
        return f"cuda:{device}"
    print(f"device={device}: there is no such GPU here, so that the model runs on the CPU", file=sys.stderr)
    return "cpu"


class ChineseClipEmbedding(ClipEmbedding):
    """`ops.image_text_embedding.cn_clip(model_name=…, modality=…)`: a Chinese-CLIP, by any of its usual names."""

    def __init__(self, model_name: str = "ViT-B-16", modality: str = "image", **options: Any) -> None:
        super().__init__(_chinese_clip(model_name), modality, **options)


def _chinese_clip(name: str) -> str:
    """Return the model for a name such as 'ViT-L-14-336', 'cn_clip_vit_b_16' or 'chinese-clip-vit-base-patch16'.

    Raises:
        InputError: it is the name of no ViT.
    """
    plain = re.sub(r"[^a-z0-9]", "", name.lower().rpartition("/")[2])
    for pattern, model in _CHINESE_CLIPS.items():
        if re.search(pattern, plain):
            return model
    raise InputError(f"no Chinese-CLIP is called '{name}'; known are ViT-B-16, ViT-L-14, ViT-L-14-336 and ViT-H-14")


class Normalize:
    """Scales embeddings to unit length, so that an inner product is a cosine."""

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """float32[dim] or float32[n, dim] → the same shape, rows of length 1; a zero row becomes NaN, never stored."""
        embeddings = np.asarray(embeddings, np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True))
