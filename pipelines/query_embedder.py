"""From a query's parts to unit vectors: the two embedding pipelines, and what calls them."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .batching import Batcher
from .engine import run
from .errors import ModelMismatch, UnreadableQuery
from .models.clip import model_of
from .models.registry import get_model
from .models.tags import may_be_same, name_of, same_model
from .models.tokenizer import tokenize
from .query import Part, PictureSource
from .settings import Settings

if TYPE_CHECKING:
    from towhee.runtime.runtime_pipeline import RuntimePipeline

# Of 512 float32 each: 8 MB.
_TEXTS_KEPT = 4_096


def build_text_embedding(settings: Settings) -> RuntimePipeline:
    """Declares how texts are embedded, all in one model call: n texts → float32[n, dim] of unit length."""
    from towhee import ops, pipe

    settings = settings.with_model_of("")
    return (
        pipe.input("texts")
        .map("texts", "embeddings", ops.image_text_embedding.clip(modality="text", **settings.model_options))
        .map("embeddings", "embeddings", ops.towhee.np_normalize())
        .output("embeddings")
    )  # fmt: skip


def build_picture_embedding(settings: Settings) -> RuntimePipeline:
    """Declares how pictures are embedded: n sources → (why unreadable or '', each; float32[n, dim] of unit length)."""
    from towhee import ops, pipe

    settings = settings.with_model_of("")
    size = get_model(settings.model).image_size
    return (
        pipe.input("sources")
        .map("sources", ("pictures", "reasons"), ops.image_decode.cv2(
            "rgb", size=size, reasons=True, **settings.decode_options))
        .map("pictures", "embeddings", ops.image_text_embedding.clip(modality="image", **settings.model_options))
        .map("embeddings", "embeddings", ops.towhee.np_normalize())
        .output("reasons", "embeddings")
    )  # fmt: skip


class QueryEmbedder:
    """Embeds the parts of queries. Loads the model with the first text or picture; may be shared by threads.

    Args:
        settings: with the model settled.
        made_by: tag of the model that made the collection.

    Raises:
        ModelMismatch: the settings name another model.
    """

    def __init__(self, settings: Settings, made_by: str) -> None:
        self._settings, self._made_by = settings, made_by
        self._lock = threading.RLock()
        self._known: OrderedDict[str, np.ndarray] = OrderedDict()
        self._together: Batcher[list[str], np.ndarray] = Batcher(self._embed_lists)
        if not may_be_same(name_of(made_by), settings.model):
            raise self._mismatch(get_model(settings.model).name)

    def embed(self, parts: Sequence[Part], stored: Callable[[list[int]], np.ndarray]) -> np.ndarray:
        """float32[m, dim] of unit length: one model call for all texts, one for all pictures, none for ids.

        Args:
            stored: gives the embeddings of pictures of the collection.

        Raises:
            UnreadableQuery: a picture cannot be read.
            ModelMismatch: the weights are not those that made the collection.
        """
        texts = [part.text for part in parts if part.text]
        pictures = [part.image for part in parts if part.image is not None]
        ids = [part.id for part in parts if part.id is not None]
        found = {
            "text": iter(self._embed_texts(texts) if texts else ()),
            "image": iter(self._embed_pictures(pictures) if pictures else ()),
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

    def _embed_pictures(self, sources: list[PictureSource]) -> np.ndarray:
        reasons, embeddings = run(self._pictures, sources)
        for source, reason in zip(sources, reasons, strict=True):
            if reason:
                name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the picture"
                raise UnreadableQuery(f"{name} cannot be searched for: {reason}")
        return embeddings

    @cached_property
    def _texts(self) -> RuntimePipeline:
        with self._lock:
            self._check_model()
            return build_text_embedding(self._settings)

    @cached_property
    def _pictures(self) -> RuntimePipeline:
        with self._lock:
            self._check_model()
            return build_picture_embedding(self._settings)

    def _check_model(self) -> None:
        tag = model_of(self._settings).tag
        if not same_model(tag, self._made_by):
            raise self._mismatch(tag)

    def _mismatch(self, ours: str) -> ModelMismatch:
        name = name_of(self._made_by)
        way_out = f"search with --model {name}" if name != self._settings.model else "use the weights it was made with"
        return ModelMismatch(
            f"collection '{self._settings.collection}' was made by {self._made_by}, this is {ours}: "
            f"{way_out}, or insert again into another collection"
        )
