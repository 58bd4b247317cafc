"""The search pipelines, and the one function that all front ends call: `Searcher.search`."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .engine import run
from .errors import CollectionNotFound, InputError, ModelMismatch, UnknownPicture, UnreadableQuery
from .milvus import schema
from .milvus.connection import is_lite
from .milvus.store import INSERT_COMMAND, CollectionInfo, Store
from .models.clip import load_model
from .models.registry import get_model
from .models.tokenizer import tokenize
from .query import Compare, Filter, Not, OneOf, Part, PictureSource, Query, parse_filter
from .query.folding import Row, collect_page
from .settings import Settings

if TYPE_CHECKING:
    from towhee.runtime.runtime_pipeline import RuntimePipeline

# An approximate index is asked for 64, 128, 256 … hits: pages that come from the same question fit together.
_APPROXIMATE_FIRST = 64
# A server's collection may grow meanwhile; counting is too slow for every query.
_COUNT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Hit:
    """One picture found. `score` is the cosine to the query: higher is nearer; not comparable between models.

    folded: near duplicates that this hit also stands for, of those seen so far (`Query.fold`).
    """

    rank: int
    id: int
    score: float
    path: str
    fields: dict[str, Any]
    folded: int = 0


@dataclass(frozen=True, slots=True)
class Results:
    """One page of hits, best first.

    seconds: all of it; of them `embed_seconds` for the query's embedding, `search_seconds` in Milvus.
    has_more: whether a next page would have hits.
    rows: pictures in the collection, at most half a minute old.
    notes: what the asker should know, a text that was too long for the model for example.
    """

    hits: list[Hit]
    seconds: float
    embed_seconds: float = 0.0
    search_seconds: float = 0.0
    has_more: bool = False
    rows: int = 0
    notes: tuple[str, ...] = field(default=())


def build_text_embedding(settings: Settings) -> RuntimePipeline:
    """Declares how texts are embedded, all in one model call: n texts → float32[n, dim] of unit length."""
    from towhee import ops, pipe

    settings = settings.with_model_of("")
    return (
        pipe.input("texts")
        .map("texts", "embeddings", ops.image_text_embedding.clip(
            model_name=settings.model, modality="text", device=settings.device, weights=settings.weights))
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
        .map("sources", ("pictures", "reasons"), ops.image_decode.cv2("rgb", size=size, reasons=True))
        .map("pictures", "embeddings", ops.image_text_embedding.clip(
            model_name=settings.model, modality="image", device=settings.device, weights=settings.weights))
        .map("embeddings", "embeddings", ops.towhee.np_normalize())
        .output("reasons", "embeddings")
    )  # fmt: skip


def build_search(settings: Settings, output_fields: Sequence[str]) -> RuntimePipeline:
    """Declares the search for n queries made of the same m parts, in one call of Milvus.

    (float32[m, dim] of unit length, weights float32[n, m], limit, filter) → (float32[n, dim], n lists of hits), each
    hit `[id, score, *output_fields]`. A query whose parts cancel each other out is NaN and has no hits.
    """
    from towhee import ops, pipe

    return (
        pipe.input("embeddings", "weights", "limit", "filter")
        .map(("embeddings", "weights"), "queries", ops.embedding.weighted_sum())
        .map("queries", "queries", ops.towhee.np_normalize())
        .map(("queries", "limit", "filter"), "hits", ops.ann_search.milvus_client(
            uri=settings.uri, collection_name=settings.collection, token=settings.token,
            output_fields=list(output_fields)))
        .output("queries", "hits")
    )  # fmt: skip


class Searcher:
    """Searches one collection. Built once and reused; may be shared by threads.

    The model is loaded by the first query that has words or a picture in it.

    Raises:
        CollectionNotFound: nothing has been inserted yet.
        ModelMismatch: another model made the collection.
        ModelError, StoreError: the model or Milvus cannot be reached.
    """

    def __init__(self, settings: Settings) -> None:
        self.store = Store(settings.uri, settings.collection, settings.token)
        self._made_by = self.store.model()
        if not self._made_by:
            raise CollectionNotFound(f"the collection '{settings.collection}' is empty; fill it with: {INSERT_COMMAND}")
        self.settings = settings = settings.with_model_of(self._made_by)
        self.fields = self.store.fields()
        self.field_names = [field.name for field in self.fields]
        self.is_lite = is_lite(settings.uri)
        self._output_fields = [schema.PATH, *self.field_names]
        self.on_results: Callable[[Results], None] | None = None  # told of every search: measurements
        self._lock = threading.RLock()
        self._count, self._count_until = 0, 0.0
        if self._made_by.split("@")[0] != settings.model:
            raise self._mismatch(get_model(settings.model).name)

    def search(self, query: Query) -> Results:
        """Answers a query: each part is embedded, the weighted sum of the unit vectors is what Milvus looks for.

        Pictures of the collection that the query names by id are left out of the hits.

        Raises:
            InputError: a filter, a picture or an id that cannot be used, or parts that cancel each other out.
        """
        start = time.perf_counter()
        expression = self._expression(query)
        embeddings = self._embed(query.parts)
        weights = np.array([[part.weight for part in query.parts]], np.float32)
        embedded = time.perf_counter()

        def ask(count: int) -> list[Row]:
            queries, hits = run(self._pipeline(query.fold is not None), embeddings, weights, count, expression)
            if not np.isfinite(queries[0]).all():
                raise InputError("the parts of the query cancel each other out; change a weight")
            return hits[0]

        page = collect_page(ask, query, 0 if self._is_exact and query.fold is None else _APPROXIMATE_FIRST)
        found = time.perf_counter()
        hits = [
            self._hit(rank, row, folded)
            for rank, (row, folded) in enumerate(zip(page.rows, page.folded, strict=True), query.offset + 1)
        ]
        notes, rows = self._notes(query.parts), self._rows()
        seconds = time.perf_counter() - start
        results = Results(hits, seconds, embedded - start, found - embedded, page.has_more, rows, notes)
        if self.on_results is not None:
            self.on_results(results)
        return results

    def by_text(self, text: str, limit: int = 10, filter: Filter | str | None = None) -> Results:
        """Pictures that fit the words, taken as they are: `parse_query` reads the query language.

        Raises:
            InputError: no words, or a filter that cannot be used.
        """
        return self.search(Query((Part(text),), limit, filter=filter))

    def by_image(self, source: PictureSource, limit: int = 10, filter: Filter | str | None = None) -> Results:
        """Pictures that look like this one, given as a path, as a file's bytes or as uint8[h, w, 3] RGB.

        Raises:
            InputError: it cannot be read as a picture; the message says why.
        """
        return self.search(Query((Part(image=source),), limit, filter=filter))

    def similar_to(self, picture_id: int, limit: int = 10, filter: Filter | str | None = None) -> Results:
        """Pictures that look like one of the collection, itself left out. Uses its stored embedding: no model call.

        Raises:
            InputError: the collection has no such id.
        """
        return self.search(Query((Part(id=picture_id),), limit, filter=filter))

    def get(self, picture_id: int) -> Hit | None:
        """One picture of the collection by id, with its fields; rank 0, score 1."""
        row = self.store.get([picture_id], self._output_fields, strong=False).get(picture_id)
        return self._hit(0, [picture_id, 1.0, *(row.get(name) for name in self._output_fields)], 0) if row else None

    def info(self) -> CollectionInfo:
        """What the collection holds, and which model made it."""
        return self.store.info()

    def labels(self, limit: int = 1000) -> list[str]:
        """The distinct labels, sorted, of at most the first 16,384 rows; [] where there is no such column."""
        if "label" not in self.field_names:
            return []
        rows = self.store.query(f"{schema.ID} >= {-(2**63) + 1}", ["label"], strong=False, limit=16_384)
        return sorted({str(row["label"]) for row in rows} - {""})[:limit]

    def parse_filter(self, text: str) -> Filter:
        """Reads a filter on this collection's columns.

        Raises:
            InputError: it is none, a column does not exist, or this Milvus cannot do it.
        """
        return parse_filter(text, self.fields, self.is_lite)

    def _expression(self, query: Query) -> str:
        """The query's filter, without the pictures it names, in Milvus's language; '' for all rows."""
        wanted = query.filter
        if isinstance(wanted, str):
            wanted = self.parse_filter(wanted) if wanted.strip() else None
        named = tuple(part.id for part in query.parts if part.id is not None)
        if named:
            others = Compare(schema.ID, "!=", named[0]) if len(named) == 1 else Not(OneOf(schema.ID, named))
            wanted = wanted & others if wanted else others
        return wanted.to_milvus(self.fields, self.is_lite) if wanted else ""

    def _embed(self, parts: Sequence[Part]) -> np.ndarray:
        """float32[m, dim] of unit length: one model call for all texts, one for all pictures, none for ids."""
        texts = [part.text for part in parts if part.text]
        pictures = [part.image for part in parts if part.image is not None]
        ids = [part.id for part in parts if part.id is not None]
        found = {
            "text": iter(run(self._texts, texts)[0] if texts else ()),
            "image": iter(self._embed_pictures(pictures) if pictures else ()),
            "id": iter(self._stored(ids) if ids else ()),
        }
        kinds = ("text" if part.text else "id" if part.image is None else "image" for part in parts)
        return np.stack([next(found[kind]) for kind in kinds])

    def _embed_pictures(self, sources: list[PictureSource]) -> np.ndarray:
        reasons, embeddings = run(self._pictures, sources)
        for source, reason in zip(sources, reasons, strict=True):
            if reason:
                name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the picture"
                raise UnreadableQuery(f"{name} cannot be searched for: {reason}")
        return embeddings

    def _stored(self, ids: list[int]) -> np.ndarray:
        rows = self.store.get(ids, [schema.EMBEDDING], strong=False)
        for picture_id in ids:
            if picture_id not in rows:
                raise UnknownPicture(f"the collection '{self.settings.collection}' has no picture with id {picture_id}")
        return np.array([rows[picture_id][schema.EMBEDDING] for picture_id in ids], np.float32)

    def _notes(self, parts: Sequence[Part]) -> tuple[str, ...]:
        longest = max((part.text for part in parts), key=len)
        length = get_model(self.settings.model).architecture.context_length
        if len(longest.encode(errors="replace")) <= length - 2 or not tokenize([longest], length + 1)[0, -1]:
            return ()  # a token is at least a byte
        return (
            f"the model reads {length - 2} tokens, about {length * 3 // 4} words: the end of the text was left out",
        )

    def _rows(self) -> int:
        if time.monotonic() > self._count_until:
            self._count, self._count_until = self.store.count(strong=False), time.monotonic() + _COUNT_SECONDS
        return self._count

    @property
    def _is_exact(self) -> bool:
        return self.is_lite and "HNSW" not in self.store.index_type

    def _check_model(self) -> None:
        tag = load_model(self.settings.model, self.settings.weights, self.settings.device).tag
        if tag != self._made_by:
            raise self._mismatch(tag)

    @cached_property
    def _texts(self) -> RuntimePipeline:
        with self._lock:
            self._check_model()
            return build_text_embedding(self.settings)

    @cached_property
    def _pictures(self) -> RuntimePipeline:
        with self._lock:
            self._check_model()
            return build_picture_embedding(self.settings)

    def _pipeline(self, with_embeddings: bool) -> RuntimePipeline:
        return self._folding_search if with_embeddings else self._search

    @cached_property
    def _search(self) -> RuntimePipeline:
        with self._lock:
            return build_search(self.settings, self._output_fields)

    @cached_property
    def _folding_search(self) -> RuntimePipeline:
        with self._lock:
            return build_search(self.settings, [*self._output_fields, schema.EMBEDDING])

    def _mismatch(self, ours: str) -> ModelMismatch:
        name = self._made_by.split("@")[0]
        way_out = f"search with --model {name}" if name != self.settings.model else "use the weights it was made with"
        return ModelMismatch(
            f"collection '{self.settings.collection}' was made by {self._made_by}, this is {ours}: "
            f"{way_out}, or insert again into another collection"
        )

    def _hit(self, rank: int, row: Row, folded: int) -> Hit:
        picture_id, score, path, *values = row
        return Hit(rank, picture_id, float(score), path, dict(zip(self.field_names, values)), folded)  # noqa: B905
