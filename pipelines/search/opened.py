"""An open collection: its columns, index and model at the time of opening, and the pipelines that use them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import CollectionNotFound, InputError
from ..fields import PATH, Field, FieldType, row_id, show_value
from ..milvus import schema
from ..milvus.collection import Collection
from ..milvus.filter_expression import to_expression
from ..milvus.foreign import ForeignCollection
from ..milvus.lite import is_lite
from ..milvus.stamp import rows_stamp
from ..models.model_id import resolve_model, resolve_name
from ..models.registry import get_model
from ..query import MAX_LIMIT, Compare, Filter, Not, OneOf, Query, date_filter, parse_filter
from ..settings import Settings
from ..sources import open_source
from .browse import Browser
from .embedder import QueryEmbedder
from .facets import MOST_FOLDERS, Facets
from .paging import Page, Row
from .ranking import Ranker
from .results import Hit, Results

# Seconds to reuse a row count. A server's collection may grow meanwhile, but counting is too slow for every query.
_COUNT_SECONDS = 30.0
# Numbers of hits to request, one after the other, until they include all hits above the threshold.
_DEPTHS = (256, 2_048, MAX_LIMIT)
_COUNTS = 64  # maximum number of expressions whose counts are kept
_PATH_ROWS = 10_000


class Opened:
    """One collection, until it is replaced. Threads can share it.

    The model that made the first row must have made every row that is compared with a query. A row from another model
    is an error, even if the collection changed in the meantime.

    Args:
        previous: the collection that was open before; if the same model made it, its loaded model is reused.

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
        self.ranker = Ranker(self.collection, self.model_id)
        self._counts: dict[str, tuple[int, float]] = {}
        self._counted = ""  # stamp of the rows when they were counted
        self._info: schema.CollectionInfo | None = None
        self.browser = Browser(self.collection, self.fields, self.output_fields)

    def search(self, query: Query) -> Results:
        """Answer a query; see `Searcher.search`."""
        start = time.perf_counter()
        filter = self._checked(query.filter, query.dates)
        if not query.parts:
            return self._browse(query, filter, start)
        expression = self._expression(query, filter)
        embedding = self.embedder.embed(query, self.ranker.fetch_vectors)
        embedded = time.perf_counter()
        if query.ordering.is_relevance:
            page = self.ranker.page(query, embedding, expression, self.output_fields)
        else:
            page = self._arranged(query, embedding, expression)
        above = None if query.min_score is None else self.ranker.count_above(query, page, embedding, expression)
        found = time.perf_counter()
        hits = self._hits(page.rows, page.folded, query.offset)
        notes, rows = self.embedder.notes(query), self.count()
        total = self.count(expression) if expression else rows
        nearest = self.browser.nearest_values(filter) if filter and not total else ()
        seconds = time.perf_counter() - start
        return Results(
            hits, seconds, embedded - start, found - embedded, page.has_more, rows, notes, total, above, query.order,
            suggestions=nearest,
        )  # fmt: skip

    def _arranged(self, query: Query, embedding: np.ndarray, expression: str) -> Page:
        """One page of all hits above the threshold, or else of the best hits, in an order other than relevance."""
        for most in (query.best,) if query.min_score is None else _DEPTHS:
            found = self.ranker.page(replace(query, limit=most, offset=0), embedding, expression, ())
            if not found.has_more:
                break
        end = query.offset + query.limit
        folded = {row[0]: (row[1], count) for row, count in zip(found.rows, found.folded, strict=True)}
        ids = self.browser.arrange(list(folded), query.ordering)
        rows = self.browser.rows(ids[query.offset : end])
        for row in rows:
            row[1] = folded[row[0]][0]
        return Page(rows, [folded[row[0]][1] for row in rows], len(ids) > end)

    def _browse(self, query: Query, filter: Filter | None, start: float) -> Results:
        """Answer a query without parts."""
        page = self.browser.page(filter, query.ordering, query.offset, query.limit)
        hits = self._hits(page.rows, [0] * len(page.rows), query.offset)
        nearest = self.browser.nearest_values(filter) if filter and not page.total else ()
        seconds = time.perf_counter() - start
        return Results(
            hits, seconds, 0.0, seconds, page.has_more, page.of, total=page.total, order=str(page.order), age=page.age,
            suggestions=nearest,
        )  # fmt: skip

    def facets(
        self, filter: Filter | str | None = None, ids: Sequence[int | str] | None = None,
        columns: Sequence[str] | None = None, folder: str = "", folders: int = MOST_FOLDERS,
    ) -> Facets:  # fmt: skip
        """Count values, dates and folders; see `Searcher.facets`."""
        return self.browser.facets(self._checked(filter), ids, columns, folder, folders)

    def get(self, image_id: int | str) -> Hit | None:
        """Return one image by id; see `Searcher.get`."""
        key = row_id(image_id)
        row = self.collection.get([key], self.output_fields, strong=False).get(key)
        return self._hit(0, [key, 1.0, self.model_id, *map(row.get, self.output_fields)], 0) if row else None

    def info(self) -> schema.CollectionInfo:
        """Return a summary of the collection and the model that made it."""
        if self._info is None or not self.is_lite:
            self._info = self.collection.info(strong=False)
        # A file's other properties do not change while this object is open, and calls of Milvus Lite wait for searches.
        return replace(self._info, rows=self.count()) if self.is_lite else self._info

    def parse_filter(self, text: str) -> Filter:
        """Read a filter; see `Searcher.parse_filter`."""
        return parse_filter(text, self._translate)

    def count(self, expression: str = "") -> int:
        """Return the number of rows that match an expression; on a server it is up to half a minute old."""
        if self.is_lite and (stamp := rows_stamp(self.collection)) != self._counted:
            self._counts.clear()
            self._counted = stamp
        count, until = self._counts.get(expression, (0, 0.0))
        if time.monotonic() > until:
            if len(self._counts) >= _COUNTS:
                self._counts.clear()
            count = self.collection.count(expression, strong=False)
            self._counts[expression] = count, time.monotonic() + _COUNT_SECONDS
        return count

    def _checked(self, filter: Filter | str | None, dates: Sequence[str] = ()) -> Filter | None:
        """Combine a filter and dates into one filter, and check it against this collection.

        Raises:
            InputError: this collection does not support the filter.
        """
        if isinstance(filter, str):
            filter = self.parse_filter(filter) if filter.strip() else None
        days = date_filter(dates)
        filter = filter & days if filter and days else filter or days
        if filter is not None:
            self._translate(filter)
        return filter

    def _expression(self, query: Query, filter: Filter | None) -> str:
        """The query's filter as a Milvus expression that excludes the images named by id; '' for all rows."""
        named = tuple(part.id for part in query.parts if part.id is not None)
        if named:
            others = Compare(schema.ID, "!=", named[0]) if len(named) == 1 else Not(OneOf(schema.ID, named))
            filter = filter & others if filter else others
        return self._translate(filter) if filter else ""

    def _translate(self, filter: Filter) -> str:
        path = Field(PATH, FieldType.TEXT, key=self.collection.path_key)
        return to_expression(filter, (path, *self.fields), self.is_lite, self._has_keys)

    def _hits(self, rows: Sequence[Row], folded: Sequence[int], offset: int) -> list[Hit]:
        ranked = enumerate(zip(rows, folded, strict=True), offset + 1)
        return [self._hit(rank, row, count) for rank, (row, count) in ranked]

    def _hit(self, rank: int, row: Row, folded: int) -> Hit:
        image_id, score, _, path, *values = row
        shown = (values.pop(0) if self._has_keys else "") or image_id
        cells = {field.name: show_value(field, value) for field, value in zip(self.fields, values)}  # noqa: B905
        return Hit(rank, shown, None if score is None else float(score), path, cells, folded)


def _open(settings: Settings) -> Collection:
    """Return the collection. If another program made it, the settings must name its model and may give image paths.

    Raises:
        InputError: the model is missing, or cannot have made the collection.
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
