"""The search pipelines, by text and by picture, and the one function all front ends call."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .engine import run
from .errors import CollectionNotFound, InputError, ModelMismatch
from .milvus import schema
from .milvus.store import INSERT_COMMAND, CollectionInfo, Store, hit_row
from .models.clip import ClipModel, load_model
from .models.registry import get_model
from .settings import Settings

if TYPE_CHECKING:
    from towhee.runtime.runtime_pipeline import RuntimePipeline

PictureSource = str | os.PathLike[str] | bytes


@dataclass(frozen=True, slots=True)
class Hit:
    """One picture found. `score` is the cosine to the query: higher is nearer; not comparable between models."""

    rank: int
    id: int
    score: float
    path: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Results:
    """Hits, best first, and the seconds they took, embedding included."""

    hits: list[Hit]
    seconds: float


def build_text_search(settings: Settings, output_fields: list[str]) -> RuntimePipeline:
    """Declares the search by text: (text, limit, filter) → rows `[id, score, *output_fields]`."""
    from towhee import ops, pipe

    settings = settings.with_model_of("")
    return (
        pipe.input("text", "limit", "filter")
        .map("text", "embedding", ops.image_text_embedding.clip(
            model_name=settings.model, modality="text", device=settings.device, weights=settings.weights,
            runtime=settings.runtime))
        .map("embedding", "embedding", ops.towhee.np_normalize())
        .map(("embedding", "limit", "filter"), "hits", ops.ann_search.milvus_client(
            uri=settings.uri, collection_name=settings.collection, token=settings.token, output_fields=output_fields))
        .output("hits")
    )  # fmt: skip


def build_image_search(settings: Settings, output_fields: list[str]) -> RuntimePipeline:
    """Declares the search by picture: (path or bytes, limit, filter) → (why it cannot be read or '', rows)."""
    from towhee import ops, pipe

    settings = settings.with_model_of("")
    size = get_model(settings.model).image_size
    return (
        pipe.input("source", "limit", "filter")
        .map("source", ("picture", "reason"), ops.image_decode.cv2(
            "rgb", size=size, reasons=True, exact=settings.exact_preprocess))
        .map("picture", "embedding", ops.image_text_embedding.clip(
            model_name=settings.model, modality="image", device=settings.device, weights=settings.weights,
            runtime=settings.runtime))
        .map("embedding", "embedding", ops.towhee.np_normalize())
        .map(("embedding", "limit", "filter"), "hits", ops.ann_search.milvus_client(
            uri=settings.uri, collection_name=settings.collection, token=settings.token, output_fields=output_fields))
        .output("reason", "hits")
    )  # fmt: skip


class Searcher:
    """Searches one collection. Built once and reused; may be shared by threads.

    Raises:
        CollectionNotFound: nothing has been inserted yet.
        ModelMismatch: another model made the collection.
        ModelError, StoreError: the model or Milvus cannot be reached.
    """

    def __init__(self, settings: Settings) -> None:
        self.store = Store(settings.uri, settings.collection, settings.token)
        made_by = self.store.model()
        if not made_by:
            raise CollectionNotFound(f"the collection '{settings.collection}' is empty; fill it with: {INSERT_COMMAND}")
        self.settings = settings = settings.with_model_of(made_by)
        self.field_names = [field.name for field in self.store.fields()]
        self._output_fields = [schema.PATH, *self.field_names]
        self._model: ClipModel = load_model(settings.model, settings.weights, settings.device, settings.runtime)
        self._build = threading.Lock()
        self._check_model(made_by)

    def by_text(self, text: str, limit: int = 10, expression: str = "") -> Results:
        """Pictures that fit the words.

        Args:
            limit: at most so many hits.
            expression: a Milvus filter on the fields, `label == "cat" and year >= 2020`.

        Raises:
            InputError: no words, or a filter Milvus does not understand.
        """
        if not text.strip():
            raise InputError("give some words to search for")
        start = time.perf_counter()
        (rows,) = run(self._text_pipeline, text, limit, expression)
        return self._results(rows, start)

    def by_image(self, source: PictureSource, limit: int = 10, expression: str = "") -> Results:
        """Pictures that look like this one, given as a path or as a file's bytes.

        Raises:
            InputError: it cannot be read as a picture; the message says why.
        """
        start = time.perf_counter()
        reason, rows = run(self._image_pipeline, source, limit, expression)
        if reason:
            name = "the picture" if isinstance(source, bytes) else os.fspath(source)
            raise InputError(f"{name} cannot be searched for: {reason}")
        return self._results(rows, start)

    def similar_to(self, picture_id: int, limit: int = 10, expression: str = "") -> Results:
        """Pictures that look like one of the collection, itself left out. Uses its stored embedding: no model call.

        Raises:
            InputError: the collection has no such id.
        """
        start = time.perf_counter()
        stored = self.store.get([picture_id], [schema.EMBEDDING]).get(picture_id)
        if stored is None:
            raise InputError(f"the collection '{self.settings.collection}' has no picture with id {picture_id}")
        others = f"{schema.ID} != {picture_id}"
        expression = f"({expression}) and {others}" if expression else others
        embedding = np.asarray(stored[schema.EMBEDDING], np.float32)
        found = self.store.search(embedding[None], limit, expression, self._output_fields)[0]
        return self._results([hit_row(hit, self._output_fields) for hit in found], start)

    def get(self, picture_id: int) -> Hit | None:
        """One picture of the collection by id, with its fields; rank 0, score 1."""
        row = self.store.get([picture_id], self._output_fields).get(picture_id)
        return self._hit(0, [picture_id, 1.0, *(row.get(name) for name in self._output_fields)]) if row else None

    def info(self) -> CollectionInfo:
        """What the collection holds, and which model made it."""
        return self.store.info()

    def labels(self, limit: int = 1000) -> list[str]:
        """The distinct labels, sorted, of at most the first 16,384 rows; [] where there is no such column."""
        if "label" not in self.field_names:
            return []
        rows = self.store.query(f"{schema.ID} >= {-(2**63) + 1}", ["label"], limit=16_384)
        return sorted({str(row["label"]) for row in rows} - {""})[:limit]

    @cached_property
    def _text_pipeline(self) -> RuntimePipeline:
        with self._build:
            return build_text_search(self.settings, self._output_fields)

    @cached_property
    def _image_pipeline(self) -> RuntimePipeline:
        with self._build:
            return build_image_search(self.settings, self._output_fields)

    def _check_model(self, made_by: str) -> None:
        if made_by != self._model.tag:
            name = made_by.split("@")[0]
            way_out = (
                f"search with --model {name}" if name != self.settings.model else "use the weights it was made with"
            )
            raise ModelMismatch(
                f"collection '{self.settings.collection}' was made by {made_by}, this is {self._model.tag}: "
                f"{way_out}, or insert again into another collection"
            )

    def _results(self, rows: list[list[Any]], start: float) -> Results:
        hits = [self._hit(rank, row) for rank, row in enumerate(rows, 1)]
        return Results(hits, time.perf_counter() - start)

    def _hit(self, rank: int, row: list[Any]) -> Hit:
        picture_id, score, path, *values = row
        return Hit(rank, picture_id, float(score), path, dict(zip(self.field_names, values, strict=True)))
