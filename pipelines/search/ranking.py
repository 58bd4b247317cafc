"""Find the rows of a collection nearest to an embedding. Searches of several threads share one call of Milvus."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..declarations import build_search
from ..engine import run
from ..errors import ModelMismatch, UnknownImage
from ..fields import row_id
from ..milvus import schema
from ..milvus.collection import Collection
from ..milvus.lite import is_lite
from ..models.model_id import is_same_model
from ..query import Query
from .batcher import Batcher
from .folding import Folding
from .paging import APPROXIMATE_FIRST, Page, Row, collect_page, ranked_rows
from .ranked import Ranked, Rankings

if TYPE_CHECKING:
    from towhee.runtime.runtime_pipeline import RuntimePipeline

# A search for more rows than this is slow, so it runs alone and does not delay others in its batch.
_LARGEST_TOGETHER = 256


class Question(NamedTuple):
    """A search request to Milvus: the `limit` rows nearest to an embedding, float32[dim], that match an expression.

    fields: fields that the rows hold after id, score and model.
    """

    embedding: np.ndarray
    limit: int
    expression: str
    fields: tuple[str, ...] = ()


class Ranker:
    """Ranks the rows of one collection. Threads can share it.

    The model that made the first row must have made every row that is compared with a query. A row from another model
    is an error, even if the collection changed in the meantime.
    """

    def __init__(self, collection: Collection, model_id: str) -> None:
        self._collection, self._model_id = collection, model_id
        self._together: Batcher[Question, list[Row]] = Batcher(self.ask_together)
        self._pipelines: dict[tuple[str, ...] | None, RuntimePipeline] = {}
        self._rankings = Rankings(collection)
        self._lock = threading.Lock()

    def page(self, query: Query, embedding: np.ndarray, expression: str, fields: Sequence[str]) -> Page:
        """Return the page of a query, with these fields in its rows."""
        if query.fold is not None:
            return self._folded_page(query, query.fold, embedding, expression, fields)
        end = query.offset + query.limit
        if query.offset and (end >= _LARGEST_TOGETHER or not self._is_exact):
            ids, scores = self._ranked(embedding, expression).best(query.min_score, end + 1)
            page = slice(query.offset, end)
            rows = self._rows(ids[page].tolist(), scores[page].tolist(), fields)
            return Page(rows, [0] * len(rows), len(ids) > end)

        def ask(count: int) -> list[Row]:
            question = Question(embedding, count, expression, tuple(fields))
            return self.ask_together([question])[0] if count > _LARGEST_TOGETHER else self._together(question)

        return collect_page(ask, query, 0 if self._is_exact else APPROXIMATE_FIRST)

    def count_above(self, query: Query, page: Page, embedding: np.ndarray, expression: str) -> int:
        """Return the number of images that reach the threshold of a query, at most MAX_LIMIT."""
        shown = query.offset + len(page.rows)
        if query.min_score is None or (not page.has_more and query.fold is None and query.ordering.is_relevance):
            return shown
        return max(shown, self._ranked(embedding, expression).count(query.min_score))

    def _folded_page(
        self, query: Query, threshold: float, embedding: np.ndarray, expression: str, fields: Sequence[str]
    ) -> Page:
        """Get an early page from one search that also returns embeddings, later pages from a kept ranking."""
        end = query.offset + query.limit
        if end < APPROXIMATE_FIRST:
            question = Question(embedding, APPROXIMATE_FIRST, expression, (*fields, schema.EMBEDDING))
            rows, complete = ranked_rows(self.ask_together([question])[0], APPROXIMATE_FIRST, query.min_score)
            folding = Folding(threshold)
            if rows:
                folding.add(np.array([row.pop() for row in rows], np.float32))
            if complete or len(folding.kept) > end:
                page = slice(query.offset, end)
                return Page([rows[at] for at in folding.kept[page]], folding.folded[page], len(folding.kept) > end)
        ranked = self._ranked(embedding, expression)
        ids, scores, folded = ranked.folded(threshold, query.min_score, end + 1)
        page = slice(query.offset, end)
        rows = self._rows(ids[page].tolist(), scores[page].tolist(), fields)
        counts = dict(zip(ids[page].tolist(), folded[page], strict=True))
        return Page(rows, [counts[row[0]] for row in rows], len(ids) > end)

    def _rows(self, ids: list[int], scores: list[float], fields: Sequence[str]) -> list[Row]:
        """Rows by id; deleted rows are left out."""
        if not fields:
            return [[key, score, self._model_id] for key, score in zip(ids, scores, strict=True)]
        cells = [schema.MODEL, *fields]
        found = self._collection.get(ids, cells, strong=False)
        self._check_models({row[schema.MODEL] for row in found.values()})
        return [
            [key, score, *map(found[key].get, cells)] for key, score in zip(ids, scores, strict=True) if key in found
        ]

    def _ranked(self, embedding: np.ndarray, expression: str) -> Ranked:
        def ask(count: int) -> tuple[np.ndarray, np.ndarray]:
            ((hits,),) = run(self._pipeline(None), embedding[None], count, expression)
            return np.array([hit[0] for hit in hits], np.int64), np.array([hit[1] for hit in hits], np.float64)

        return self._rankings.of(embedding, expression, lambda: Ranked(ask, self._embeddings))

    def _embeddings(self, ids: np.ndarray) -> np.ndarray:
        """The embeddings of rows, float32[n, dim]; NaN for deleted rows."""
        rows = self._collection.get(ids.tolist(), [schema.EMBEDDING, schema.MODEL], strong=False)
        self._check_models({row[schema.MODEL] for row in rows.values()})
        found = np.full((len(ids), self._collection.dim()), np.nan, np.float32)
        for place, key in enumerate(ids.tolist()):
            if key in rows:
                found[place] = rows[key][schema.EMBEDDING]
        return found

    def ask_together(self, questions: list[Question]) -> list[list[Row]]:
        """Return the rows for each request. Requests that differ only in the embedding share one call of Milvus.

        Raises:
            ModelMismatch: a row was made by another model.
        """
        groups: dict[tuple[int, str, tuple[str, ...]], list[int]] = {}
        for index, question in enumerate(questions):
            groups.setdefault(question[1:], []).append(index)
        answers: dict[int, list[Row]] = {}
        for (limit, expression, fields), members in groups.items():
            embeddings = np.stack([questions[index].embedding for index in members])
            (hits,) = run(self._pipeline(fields), embeddings, limit, expression)
            self._check_models({row[2] for rows in hits for row in rows})
            answers.update(zip(members, hits, strict=True))
        return [answers[index] for index in range(len(questions))]

    def fetch_vectors(self, ids: list[int | str]) -> np.ndarray:
        """Return the stored embeddings of images, float32[n, dim].

        Raises:
            UnknownImage: the collection has no image with one of the ids.
        """
        rows = self._collection.get(list(map(row_id, ids)), [schema.EMBEDDING, schema.MODEL], strong=False)
        for image_id in ids:
            if row_id(image_id) not in rows:
                message = f"the collection '{self._collection.name}' has no image with id {image_id}"
                raise UnknownImage(message, "error_unknown_image", id=str(image_id))
        self._check_models({row[schema.MODEL] for row in rows.values()})
        return np.array([rows[row_id(image_id)][schema.EMBEDDING] for image_id in ids], np.float32)

    def _check_models(self, model_ids: set[str]) -> None:
        for other in model_ids - {self._model_id}:
            if not is_same_model(other, self._model_id):
                raise ModelMismatch(
                    f"collection '{self._collection.name}' holds images of {other} beside those of {self._model_id}: "
                    "embed everything again with one model (insert --reembed --model …)"
                )

    def _pipeline(self, fields: tuple[str, ...] | None) -> RuntimePipeline:
        """The search pipeline whose rows hold these fields after id, score and model; None for id and score only."""
        with self._lock:
            if fields not in self._pipelines:
                wanted = [] if fields is None else [schema.MODEL, *fields]
                self._pipelines[fields] = build_search(self._collection, wanted)
            return self._pipelines[fields]

    @property
    def _is_exact(self) -> bool:
        index_type = self._collection.index.type
        return index_type == "FLAT" or (is_lite(self._collection.uri) and "HNSW" not in index_type)
