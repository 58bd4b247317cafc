"""From a query's parts to unit vectors: the two embedding pipelines, and what calls them."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..declarations import build_image_embedding, build_text_embedding
from ..engine import run
from ..errors import ModelMismatch, UnreadableQuery
from ..models.clip import ClipModel, model_of
from ..models.model_id import is_same_model, may_be_same_name, name_of
from ..models.registry import get_model
from ..models.tokenizer import tokenize
from ..query import ImageSource, Part
from ..settings import Settings
from .batcher import Batcher

if TYPE_CHECKING:
    from towhee.runtime.runtime_pipeline import RuntimePipeline

# Of 512 float32 each: 8 MB.
_TEXTS_KEPT = 4_096


class QueryEmbedder:
    """Embeds the parts of queries. Loads the model with the first text or image; may be shared by threads.

    Args:
        settings: with the model settled.
        made_by: tag of the model that made the collection.

    Raises:
        ModelMismatch: the settings name another model.
    """

    def __init__(self, settings: Settings, stored_model_id: str) -> None:
        self._settings, self._stored_model_id = settings, stored_model_id
        self._lock = threading.RLock()
        self._known: OrderedDict[str, np.ndarray] = OrderedDict()
        self._together: Batcher[list[str], np.ndarray] = Batcher(self._embed_lists)
        if not may_be_same_name(name_of(stored_model_id), settings.model):
            raise self._mismatch(get_model(settings.model).name)

    def embed(self, parts: Sequence[Part], stored: Callable[[list[int]], np.ndarray]) -> np.ndarray:
        """float32[m, dim] of unit length: one model call for all texts, one for all images, none for ids.

        Args:
            stored: gives the embeddings of images of the collection.

        Raises:
            UnreadableQuery: an image cannot be read.
            ModelMismatch: the weights are not those that made the collection.
        """
        texts = [part.text for part in parts if part.text]
        images = [part.image for part in parts if part.image is not None]
        ids = [part.id for part in parts if part.id is not None]
        found = {
            "text": iter(self._embed_texts(texts) if texts else ()),
            "image": iter(self._embed_images(images) if images else ()),
            "id": iter(stored(ids) if ids else ()),
        }
        kinds = ("text" if part.text else "id" if part.image is None else "image" for part in parts)
        return np.stack([next(found[kind]) for kind in kinds])

    def notes(self, parts: Sequence[Part]) -> tuple[str, ...]:
        """Says, once, that a text is longer than the model reads."""
        longest = max((part.text for part in parts), key=len)
        length = get_model(self._settings.model).architecture.context_length
        if len(longest.encode(errors="replace")) <= length - 2 or not tokenize([longest], length + 1)[0, -1]:
            return ()  # a token is at least a byte
        return (f"the model reads {length - 2} tokens, some {length * 3 // 4} words: the end of the text was left out",)

    def _embed_texts(self, texts: list[str]) -> list[np.ndarray]:
        """Those asked for lately are kept: the same text's next page then starts from exactly the same vector.

        Embedded in other company, a text's vector can differ in its last digits.
        """
        with self._lock:
            known = {text: self._known[text] for text in texts if text in self._known}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            known |= zip(missing, self._together(missing), strict=True)
        with self._lock:
            for text in texts:
                self._known[text] = known[text]
                self._known.move_to_end(text)
            while len(self._known) > _TEXTS_KEPT:
                self._known.popitem(last=False)
        return [known[text] for text in texts]

    def _embed_lists(self, lists: list[list[str]]) -> list[np.ndarray]:
        """The texts of several queries in one model call."""
        (embeddings,) = run(self._texts, [text for texts in lists for text in texts])
        ends = np.cumsum([len(texts) for texts in lists])
        return np.split(embeddings, ends[:-1])

    def _embed_images(self, sources: list[ImageSource]) -> np.ndarray:
        reasons, embeddings = run(self._images, sources)
        for source, reason in zip(sources, reasons, strict=True):
            if reason:
                name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the image"
                raise UnreadableQuery(f"{name} cannot be searched for: {reason}")
        return embeddings

    @cached_property
    def _texts(self) -> RuntimePipeline:
        with self._lock:
            return build_text_embedding(self._load_model())

    @cached_property
    def _images(self) -> RuntimePipeline:
        with self._lock:
            return build_image_embedding(self._load_model(), self._settings)

    def _load_model(self) -> ClipModel:
        model = model_of(self._settings)
        if not is_same_model(model.model_id, self._stored_model_id):
            raise self._mismatch(model.model_id)
        return model

    def _mismatch(self, ours: str) -> ModelMismatch:
        name = name_of(self._stored_model_id)
        way_out = f"search with --model {name}" if name != self._settings.model else "use the weights it was made with"
        return ModelMismatch(
            f"collection '{self._settings.collection}' was made by {self._stored_model_id}, this is {ours}: "
            f"{way_out}, or insert again into another collection"
        )
