"""Turn the parts of a query into one embedding."""

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
from ..errors import InputError, ModelMismatch, UnreadableQuery
from ..forks import refuse_fork
from ..models.clip import ClipModel, load_model, model_of, text_model_of
from ..models.model_id import is_same_model, may_be_same_name, name_of, note_on_recipe
from ..models.multilingual import load_multilingual
from ..models.reading import TextInput
from ..models.registry import get_model
from ..models.runtime import choose_runtime
from ..models.spec import ModelSpec, with_own_weights
from ..models.text_models import get_text_model
from ..query import ImageSource, Query
from ..settings import Settings
from .batcher import Batcher
from .reading import read_query
from .results import Note

if TYPE_CHECKING:
    from towhee.runtime.runtime_pipeline import RuntimePipeline

    from ..models.triton_runtime import ServerProbe

# Maximum number of text embeddings in memory: 8 MB at 512 float32 each.
_TEXTS_KEPT = 4_096
# A sum shorter than this share of the absolute weights is a rounding error: the parts cancel each other out.
_CANCELLED = 1e-3


def combine(embeddings: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """Add up the embeddings of a query's parts, Σᵢ wᵢ·eᵢ; a negative weight steers away from its part.

    This is Rocchio's relevance feedback (J. J. Rocchio, "Relevance feedback in information retrieval", in G. Salton
    (ed.), The SMART Retrieval System, 1971, ch. 14) with class weights that the user gives. rclip
    (github.com/yurijmikhalevich/rclip) combines its queries in the same way.

    Args:
        embeddings: float32[m, dim] of unit length.

    Returns:
        float32[dim] of unit length.

    Raises:
        InputError: the parts cancel each other out.
    """
    total = np.asarray(weights, np.float32) @ embeddings
    length = np.linalg.norm(total)
    if not length >= _CANCELLED * np.abs(weights).sum():  # also true for NaN
        raise InputError("the parts of the query cancel each other out; change a weight", "error_cancelled")
    return np.asarray(total / length)


class QueryEmbedder:
    """Embeds queries. Loads the model on the first text or image. Threads can share it.

    Args:
        settings: settings in which the model is resolved.
        stored_model_id: id of the model that made the collection's embeddings.

    Raises:
        ModelMismatch: the settings name another model.
    """

    def __init__(self, settings: Settings, stored_model_id: str) -> None:
        self._settings, self._stored_model_id = settings, stored_model_id
        self._version = ""  # version of the model on the server, once the model is loaded
        self._lock = threading.Lock()
        self._known: OrderedDict[TextInput, np.ndarray] = OrderedDict()
        self._together: Batcher[list[TextInput], np.ndarray] = Batcher(self._embed_lists)
        if not may_be_same_name(name_of(stored_model_id), settings.model):
            raise self._mismatch(get_model(settings.model).name)
        if settings.text_model:
            get_text_model(settings.text_model, settings.model)  # raises here, before the first query

    def embed(self, query: Query, fetch_vectors: Callable[[list[int | str]], np.ndarray]) -> np.ndarray:
        """Embed a query: one model call per text tower for all texts, one for all images, none for ids.

        Args:
            fetch_vectors: returns the stored embeddings, float32[n, dim], of n images of the collection by their ids.

        Returns:
            float32[dim] of unit length.

        Raises:
            UnreadableQuery: an image cannot be read.
            ModelMismatch: the collection was embedded with other weights.
            InputError: the parts cancel each other out.
        """
        refuse_fork()  # must run before taking a lock that a thread of the parent process may have held
        parts = query.parts
        texts, _ = read_query(query, self._spec)
        images = [part.image for part in parts if part.image is not None]
        ids = [part.id for part in parts if part.id is not None]
        found = {
            "text": iter(self._embed_texts(texts) if texts else ()),
            "image": iter(self._embed_images(images) if images else ()),
            "id": iter(fetch_vectors(ids) if ids else ()),
        }
        kinds = ("text" if part.text else "id" if part.image is None else "image" for part in parts)
        return combine(np.stack([next(found[kind]) for kind in kinds]), [part.weight for part in parts])

    def probe(self) -> None:
        """Check, within two seconds, that the model server has the model; do nothing without a model server.

        Raises:
            ModelUnavailable: the server does not have the model, or does not answer.
            ModelMismatch: the server has another model now.
        """
        if self._server_probe is not None:
            self._server_probe(self._version)

    def notes(self, query: Query) -> tuple[Note, ...]:
        """Return notes on how texts that are not English were read, and on a text longer than the model reads."""
        texts, notes = read_query(query, self._spec)
        longest = max((text.words for text in texts if text.tower == "own"), key=len, default="")
        length = self._spec.context_length
        if len(longest.encode(errors="replace")) > length - 2 and self._load_text_model().is_cut(longest):
            notes.append(Note("text_cut", {"tokens": str(length - 2), "words": str(length * 3 // 4)}))
        return tuple(notes)

    def _embed_texts(self, texts: list[TextInput]) -> list[np.ndarray]:
        """Embed texts, or reuse recent embeddings, so that all pages of a query use exactly the same vector.

        The last digits of a text's embedding can depend on the other texts in the same model call.
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

    def _embed_lists(self, lists: list[list[TextInput]]) -> list[np.ndarray]:
        """Embed the texts of several queries with one call per text tower."""
        texts = [text for texts in lists for text in texts]
        embeddings = np.empty((len(texts), self._spec.dim), np.float32)
        for tower in {text.tower for text in texts}:
            rows = [row for row, text in enumerate(texts) if text.tower == tower]
            pipeline = self._text_pipeline if tower == "own" else self._multilingual_pipeline
            (embeddings[rows],) = run(pipeline, [texts[row].words for row in rows])
        ends = np.cumsum([len(texts) for texts in lists])
        return np.split(embeddings, ends[:-1])

    def _embed_images(self, sources: list[ImageSource]) -> np.ndarray:
        reasons, embeddings = run(self._image_pipeline, sources)
        for source, reason in zip(sources, reasons, strict=True):
            if reason:
                name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the image"
                raise UnreadableQuery(f"{name} cannot be searched for: {reason}")
        return np.asarray(embeddings)

    @cached_property
    def _spec(self) -> ModelSpec:
        if self._settings.text_model:
            return get_text_model(self._settings.text_model, self._settings.model)
        spec = get_model(self._settings.model)
        return with_own_weights(spec) if self._settings.weights else spec

    @cached_property
    def _server_probe(self) -> ServerProbe | None:
        settings = self._settings
        if choose_runtime(settings.runtime, settings.device, settings.model_url) != "triton":
            return None
        from ..models.triton_runtime import ServerProbe

        return ServerProbe(get_model(settings.model), settings.model_url, self._stored_model_id)

    @cached_property
    def _text_pipeline(self) -> RuntimePipeline:
        model = self._load_text_model()
        # In a thread: building the pipeline imports Towhee in the meantime.
        threading.Thread(target=model.prepare_texts, daemon=True).start()
        return build_text_embedding(model)

    @cached_property
    def _multilingual_pipeline(self) -> RuntimePipeline:
        self._load_model()  # checks that the collection was embedded with these weights
        return build_text_embedding(load_multilingual())

    @cached_property
    def _image_pipeline(self) -> RuntimePipeline:
        return build_image_embedding(self._load_model(), self._settings)

    def _load_text_model(self) -> ClipModel:
        return text_model_of(self._settings) if self._settings.text_model else self._load_model()

    def _load_model(self) -> ClipModel:
        with self._lock:  # texts and images may arrive at once, but the model is loaded once
            model = model_of(self._settings)
            if not is_same_model(model.model_id, self._stored_model_id):
                load_model.cache_clear()  # the folder may hold other weights now, from a later training
                model = model_of(self._settings)
        if not is_same_model(model.model_id, self._stored_model_id):
            raise self._mismatch(model.model_id)
        self._version = getattr(model.runtime, "version", "")
        return model

    def _mismatch(self, model_id: str) -> ModelMismatch:
        name = name_of(self._stored_model_id)
        remedy = f"search with --model {name}" if name != self._settings.model else "use the model as it was then"
        edited = note_on_recipe(self._stored_model_id, model_id)
        return ModelMismatch(
            f"collection '{self._settings.collection}' was made by {self._stored_model_id}, "
            f"this is {model_id}{edited}: {remedy}, or insert again into another collection"
        )
