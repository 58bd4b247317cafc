"""A collection as it was when it was opened: its columns, its index, its model, and the pipelines on them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..declarations import build_search
from ..engine import run
from ..errors import CollectionNotFound, InputError, ModelMismatch, UnknownImage
from ..fields import PATH, Field, FieldType, row_id, show_value
from ..milvus import schema
from ..milvus.collection import Collection
from ..milvus.filter_expression import to_expression
from ..milvus.foreign import ForeignCollection
from ..milvus.lite import is_lite
from ..models.model_id import is_same_model, resolve_model, resolve_name
from ..models.registry import get_model
from ..query import Compare, Filter, Not, OneOf, Query, parse_filter
from ..settings import Settings
from ..sources import open_source
from .batcher import Batcher
from .embedder import QueryEmbedder
from .paging import APPROXIMATE_FIRST, Row, collect_page
from .results import Hit, Results

if TYPE_CHECKING:
    from towhee.runtime.runtime_pipeline import RuntimePipeline

# A question for more rows takes long; it is asked alone, so that no other query waits for it.
_LARGEST_TOGETHER = 256
# A server's collection may grow meanwhile. Counting it is too slow for every query.
_COUNT_SECONDS = 30.0
_PATH_ROWS = 10_000


class _Question(NamedTuple):
    """A question to Milvus: the `limit` nearest rows to an embedding, float32[dim], that match an expression."""

    embedding: np.ndarray
    limit: int
    expression: str
    with_embeddings: bool


class Opened:
    """One collection, as long as nothing replaces it. Threads can share it.

    Every row that is compared with a query was made by the model that made the first row; a row of another model is an
    error, whatever happened to the collection meanwhile.

    Args:
        previous: what was opened before; if the same model made it, its loaded model is taken over.

    Raises:
        CollectionNotFound: the collection does not exist or is empty.
        ModelMismatch: another model made the collection than the settings name.
        ModelError, StoreError: the model or Milvus cannot be reached.
    """

    def __init__(self, settings: Settings, previous: Opened | None = None) -> None:
        self.collection = _open(settings)
        self.model_id = self.collection.model()
        if not self.model_id:
            message = f"the collection '{settings.collection}' is empty"
            raise CollectionNotFound(message, uri=settings.uri, collection=settings.collection)
        self.settings = resolve_model(settings, self.model_id)
        self.fields = self.collection.fields()
        self.field_names = [field.name for field in self.fields]
        self._has_keys = self.collection.version() > 1
        keys = [schema.KEY] if self._has_keys else []
        self.output_fields = [schema.PATH, *keys, *(field.key for field in self.fields)]
        self.is_lite = is_lite(settings.uri)
        kept = previous.embedder if previous and previous.model_id == self.model_id else None
        self.embedder: QueryEmbedder = kept or QueryEmbedder(self.settings, self.model_id)
        self._together: Batcher[_Question, list[Row]] = Batcher(self._ask_together)
        self._pipelines: dict[bool, RuntimePipeline] = {}
        self._lock = threading.Lock()
        self._count, self._count_until = 0, 0.0

    def search(self, query: Query) -> Results:
        """Answer a query; see `Searcher.search`."""
        start = time.perf_counter()
        expression = self._expression(query)
        embedding = self.embedder.embed(query, self._fetch_vectors)
        embedded = time.perf_counter()
        folds = query.fold is not None

        def ask(count: int) -> list[Row]:
            question = _Question(embedding, count, expression, folds)
            alone = folds or count > _LARGEST_TOGETHER
            return self._ask_together([question])[0] if alone else self._together(question)

        page = collect_page(ask, query, 0 if self._is_exact and not folds else APPROXIMATE_FIRST)
        found = time.perf_counter()
        ranked = enumerate(zip(page.rows, page.folded, strict=True), query.offset + 1)
        hits = [self._hit(rank, row, folded) for rank, (row, folded) in ranked]
        notes, rows = self.embedder.notes(query), self.count()
        seconds = time.perf_counter() - start
        return Results(hits, seconds, embedded - start, found - embedded, page.has_more, rows, notes)

    def get(self, image_id: int | str) -> Hit | None:
        """Return one image by id; see `Searcher.get`."""
        key = row_id(image_id)
        row = self.collection.get([key], self.output_fields, strong=False).get(key)
        return self._hit(0, [key, 1.0, self.model_id, *map(row.get, self.output_fields)], 0) if row else None

    def info(self) -> schema.CollectionInfo:
        """Return a summary of the collection and the model that made it."""
        return self.collection.info(strong=False)

    def parse_filter(self, text: str) -> Filter:
        """Read a filter; see `Searcher.parse_filter`."""
        return parse_filter(text, self._translate)

    def count(self) -> int:
        """Return the number of rows, counted at most half a minute ago."""
        if time.monotonic() > self._count_until:
            self._count, self._count_until = self.collection.count(strong=False), time.monotonic() + _COUNT_SECONDS
        return self._count

    def _expression(self, query: Query) -> str:
        """The query's filter, without the images that it names, as a Milvus expression; '' for all rows."""
        filter = query.filter
        if isinstance(filter, str):
            filter = self.parse_filter(filter) if filter.strip() else None
        named = tuple(part.id for part in query.parts if part.id is not None)
        if named:
            others = Compare(schema.ID, "!=", named[0]) if len(named) == 1 else Not(OneOf(schema.ID, named))
            filter = filter & others if filter else others
        return self._translate(filter) if filter else ""

    def _translate(self, filter: Filter) -> str:
        path = Field(PATH, FieldType.TEXT, key=self.collection.path_key)
        return to_expression(filter, (path, *self.fields), self.is_lite, self._has_keys)

    def _ask_together(self, questions: list[_Question]) -> list[list[Row]]:
        """Return the rows for each question. Questions that differ only in the embedding share one call of Milvus."""
        groups: dict[tuple[int, str, bool], list[int]] = {}
        for index, question in enumerate(questions):
            groups.setdefault(question[1:], []).append(index)
        answers: dict[int, list[Row]] = {}
        for (limit, expression, with_embeddings), members in groups.items():
            embeddings = np.stack([questions[index].embedding for index in members])
            (hits,) = run(self._pipeline(with_embeddings), embeddings, limit, expression)
            self._check_models({row[2] for rows in hits for row in rows})
            answers.update(zip(members, hits, strict=True))
        return [answers[index] for index in range(len(questions))]

    def _pipeline(self, with_embeddings: bool) -> RuntimePipeline:
        with self._lock:
            if with_embeddings not in self._pipelines:
                extra = [schema.EMBEDDING] if with_embeddings else []
                fields = [schema.MODEL, *self.output_fields, *extra]
                self._pipelines[with_embeddings] = build_search(self.collection, fields)
            return self._pipelines[with_embeddings]

    def _fetch_vectors(self, ids: list[int | str]) -> np.ndarray:
        rows = self.collection.get(list(map(row_id, ids)), [schema.EMBEDDING, schema.MODEL], strong=False)
        for image_id in ids:
            if row_id(image_id) not in rows:
                raise UnknownImage(f"the collection '{self.settings.collection}' has no image with id {image_id}")
        self._check_models({row[schema.MODEL] for row in rows.values()})
        return np.array([rows[row_id(image_id)][schema.EMBEDDING] for image_id in ids], np.float32)

    def _check_models(self, model_ids: set[str]) -> None:
        for other in model_ids - {self.model_id}:
            if not is_same_model(other, self.model_id):
                raise ModelMismatch(
                    f"collection '{self.settings.collection}' holds images of {other} beside those of {self.model_id}: "
                    "embed everything again with one model (insert --reembed --model …)"
                )

    @property
    def _is_exact(self) -> bool:
        index_type = self.collection.index.type
        return index_type == "FLAT" or (self.is_lite and "HNSW" not in index_type)

    def _hit(self, rank: int, row: Row, folded: int) -> Hit:
        image_id, score, _, path, *values = row  # with the embedding last if duplicates are folded
        shown = (values.pop(0) if self._has_keys else "") or image_id
        cells = {field.name: show_value(field, value) for field, value in zip(self.fields, values)}  # noqa: B905
        return Hit(rank, shown, float(score), path, cells, folded)


def _open(settings: Settings) -> Collection:
    """Return the collection; one of another program needs the name of its model, and perhaps the paths of its images.

    Raises:
        InputError: they are missing, or this model cannot have made it.
    """
    collection = Collection(settings.uri, settings.collection, settings.token)
    if collection.is_own:
        return collection
    if not settings.model:
        raise InputError(
            f"collection '{settings.collection}' was made by another program: say which model made it (--model)"
        )
    spec = get_model(resolve_name(settings.model))
    rows = open_source(settings.paths).chunks(_PATH_ROWS) if settings.paths else ()
    paths = {row.id: row.path for chunk in rows for row in chunk}
    foreign = ForeignCollection(settings.uri, settings.collection, settings.token, spec.name, paths)
    foreign.check(spec.name, spec.dim)
    return foreign
