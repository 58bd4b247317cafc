"""The search pipelines, and the one function that all front ends call: `Searcher.search`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..declarations import build_search
from ..engine import run
from ..errors import CollectionNotFound, InputError, UnknownImage
from ..milvus import schema
from ..milvus.collection import Collection
from ..milvus.filter_expression import to_expression
from ..milvus.lite import is_lite
from ..milvus.schema import CollectionInfo
from ..query import Compare, Filter, ImageSource, Not, OneOf, Part, Query, parse_filter
from ..settings import Settings
from .batcher import Batcher
from .embedder import QueryEmbedder
from .paging import Row, collect_page

if TYPE_CHECKING:
    from towhee.runtime.runtime_pipeline import RuntimePipeline

# An approximate index is asked for 64, 128, 256 … hits: pages that come from the same question fit together.
_APPROXIMATE_FIRST = 64
# More rows than this are asked for alone.
_LARGEST_TOGETHER = 256
# A server's collection may grow meanwhile; counting is too slow for every query.
_COUNT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Hit:
    """One image found. `score` is the cosine to the query: higher is nearer; not comparable between models.

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
    rows: images in the collection, at most half a minute old.
    notes: what the asker should know, a text that was too long for the model for example.
    """

    hits: list[Hit]
    seconds: float
    embed_seconds: float = 0.0
    search_seconds: float = 0.0
    has_more: bool = False
    rows: int = 0
    notes: tuple[str, ...] = field(default=())


class _Question(NamedTuple):
    """What one query asks Milvus: its parts and weights, how many rows, of which, and whether with embeddings."""

    embeddings: np.ndarray
    weights: np.ndarray
    wanted: int
    expression: str
    folds: bool


class Searcher:
    """Searches one collection. Built once and reused; may be shared by threads.

    The model is loaded by the first query that has words or an image in it.

    Raises:
        CollectionNotFound: nothing has been inserted yet.
        ModelMismatch: another model made the collection.
        ModelError, StoreError: the model or Milvus cannot be reached.
    """

    def __init__(self, settings: Settings) -> None:
        self.collection = Collection(settings.uri, settings.collection, settings.token)
        stored_model_id = self.collection.model()
        if not stored_model_id:
            raise CollectionNotFound(
                f"the collection '{settings.collection}' is empty", settings.uri, settings.collection
            )
        self.settings = settings = settings.with_model_of(stored_model_id)
        self.fields = self.collection.fields()
        self.field_names = [field.name for field in self.fields]
        self.is_lite = is_lite(settings.uri)
        self._output_fields = [schema.PATH, *self.field_names]
        self._embedder = QueryEmbedder(settings, stored_model_id)
        self._together: Batcher[_Question, list[Row] | None] = Batcher(self._ask_together)
        self.on_results: Callable[[Results], None] | None = None  # told of every search: measurements
        self._lock = threading.RLock()
        self._count, self._count_until = 0, 0.0

    def search(self, query: Query) -> Results:
        """Answers a query: each part is embedded, the weighted sum of the unit vectors is what Milvus looks for.

        Images of the collection that the query names by id are left out of the hits.

        Raises:
            InputError: a filter, an image or an id that cannot be used, or parts that cancel each other out.
        """
        start = time.perf_counter()
        expression = self._expression(query)
        embeddings = self._embedder.embed(query.parts, self._fetch_vectors)
        weights = np.array([part.weight for part in query.parts], np.float32)
        embedded = time.perf_counter()
        folds = query.fold is not None

        def ask(count: int) -> list[Row]:
            question = _Question(embeddings, weights, count, expression, folds)
            # What takes long is asked apart: nobody else shall wait for it.
            rows = self._ask_together([question])[0] if folds or count > _LARGEST_TOGETHER else self._together(question)
            if rows is None:
                raise InputError("the parts of the query cancel each other out; change a weight")
            return rows

        page = collect_page(ask, query, 0 if self._is_exact and query.fold is None else _APPROXIMATE_FIRST)
        found = time.perf_counter()
        hits = [
            self._hit(rank, row, folded)
            for rank, (row, folded) in enumerate(zip(page.rows, page.folded, strict=True), query.offset + 1)
        ]
        notes, rows = self._embedder.notes(query.parts), self._rows()
        seconds = time.perf_counter() - start
        results = Results(hits, seconds, embedded - start, found - embedded, page.has_more, rows, notes)
        if self.on_results is not None:
            self.on_results(results)
        return results

    def by_text(self, text: str, limit: int = 10, filter: Filter | str | None = None) -> Results:
        """Images that fit the words, taken as they are: `parse_query` reads the query language.

        Raises:
            InputError: no words, or a filter that cannot be used.
        """
        return self.search(Query((Part(text),), limit, filter=filter))

    def by_image(self, source: ImageSource, limit: int = 10, filter: Filter | str | None = None) -> Results:
        """Images that look like this one, given as a path, as a file's bytes or as uint8[h, w, 3] RGB.

        Raises:
            InputError: it cannot be read as an image; the message says why.
        """
        return self.search(Query((Part(image=source),), limit, filter=filter))

    def similar_to(self, image_id: int, limit: int = 10, filter: Filter | str | None = None) -> Results:
        """Images that look like one of the collection, itself left out. Uses its stored embedding: no model call.

        Raises:
            InputError: the collection has no such id.
        """
        return self.search(Query((Part(id=image_id),), limit, filter=filter))

    def get(self, image_id: int) -> Hit | None:
        """One image of the collection by id, with its fields; rank 0, score 1."""
        row = self.collection.get([image_id], self._output_fields, strong=False).get(image_id)
        return self._hit(0, [image_id, 1.0, *(row.get(name) for name in self._output_fields)], 0) if row else None

    def info(self) -> CollectionInfo:
        """What the collection holds, and which model made it."""
        return self.collection.info()

    def parse_filter(self, text: str) -> Filter:
        """Reads a filter on this collection's columns.

        Raises:
            InputError: it is none, a column does not exist, or this Milvus cannot do it.
        """
        return parse_filter(text, lambda filter: to_expression(filter, self.fields, self.is_lite))

    def _expression(self, query: Query) -> str:
        """The query's filter, without the images it names, in Milvus's language; '' for all rows."""
        wanted = query.filter
        if isinstance(wanted, str):
            wanted = self.parse_filter(wanted) if wanted.strip() else None
        named = tuple(part.id for part in query.parts if part.id is not None)
        if named:
            others = Compare(schema.ID, "!=", named[0]) if len(named) == 1 else Not(OneOf(schema.ID, named))
            wanted = wanted & others if wanted else others
        return to_expression(wanted, self.fields, self.is_lite) if wanted else ""

    def _ask_together(self, questions: list[_Question]) -> list[list[Row] | None]:
        """Rows for each question, None where its parts cancel each other out; alike ones in one call of Milvus."""
        answers: list[list[Row] | None] = [None] * len(questions)
        groups: dict[tuple[int, str, bool], list[int]] = {}
        for index, question in enumerate(questions):
            groups.setdefault((question.wanted, question.expression, question.folds), []).append(index)
        for (count, expression, folds), members in groups.items():
            embeddings = np.concatenate([questions[index].embeddings for index in members])
            weights = _block_diagonal([questions[index].weights for index in members])
            queries, hits = run(self._pipeline(folds), embeddings, weights, count, expression)
            for index, query, rows in zip(members, queries, hits, strict=True):
                answers[index] = rows if np.isfinite(query).all() else None
        return answers

    def _fetch_vectors(self, ids: list[int]) -> np.ndarray:
        rows = self.collection.get(ids, [schema.EMBEDDING], strong=False)
        for image_id in ids:
            if image_id not in rows:
                raise UnknownImage(f"the collection '{self.settings.collection}' has no image with id {image_id}")
        return np.array([rows[image_id][schema.EMBEDDING] for image_id in ids], np.float32)

    def _rows(self) -> int:
        if time.monotonic() > self._count_until:
            self._count, self._count_until = self.collection.count(strong=False), time.monotonic() + _COUNT_SECONDS
        return self._count

    @property
    def _is_exact(self) -> bool:
        return self.is_lite and "HNSW" not in self.collection.index.type

    def _pipeline(self, with_embeddings: bool) -> RuntimePipeline:
        return self._folding_search if with_embeddings else self._search

    @cached_property
    def _search(self) -> RuntimePipeline:
        with self._lock:
            return build_search(self.collection, self._output_fields)

    @cached_property
    def _folding_search(self) -> RuntimePipeline:
        with self._lock:
            return build_search(self.collection, [*self._output_fields, schema.EMBEDDING])

    def _hit(self, rank: int, row: Row, folded: int) -> Hit:
        image_id, score, path, *values = row
        return Hit(rank, image_id, float(score), path, dict(zip(self.field_names, values)), folded)  # noqa: B905


def _block_diagonal(rows: list[np.ndarray]) -> np.ndarray:
    """Weights of n queries, each over parts of its own: float32[n, all parts], zero for the parts of others."""
    result = np.zeros((len(rows), sum(map(len, rows))), np.float32)
    start = 0
    for target, row in zip(result, rows, strict=True):
        target[start : start + len(row)] = row
        start += len(row)
    return result
