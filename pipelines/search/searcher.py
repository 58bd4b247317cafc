"""Searcher: the one object that all front ends search with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import date

from ..errors import SearchError, WrongType
from ..fields import Field, FieldType
from ..milvus import calls, schema
from ..milvus.collection import Collection
from ..milvus.lite import is_lite
from ..query import Filter, ImageSource, Part, Query
from ..query.date_words import Offer, offer_dates
from ..settings import Settings
from .column_table import TAKEN
from .facets import MOST_FOLDERS, Facets
from .opened import Opened
from .present import Present
from .results import Hit, Results


class Searcher:
    """Searches one collection. Build it once and reuse it; threads can share it.

    The first query with a text or an image loads the model. A collection that was replaced, embedded with another model
    or given other columns or another index is opened again: at once on Milvus Lite, within a second on a server. If a
    server cannot be reached, a call fails within three seconds; the next call tries again.

    Raises:
        CollectionNotFound: the collection does not exist or is empty.
        ModelMismatch: another model made the collection.
        ModelError, StoreError: the model or Milvus cannot be reached.
    """

    def __init__(self, settings: Settings) -> None:
        if not isinstance(settings, Settings):
            raise WrongType(f"a Searcher takes Settings, not {type(settings).__name__}: Searcher(Settings(uri=…))")
        self.is_lite = is_lite(settings.uri)
        self.on_results: Callable[[Results], None] | None = None  # called with every search's results, for metrics
        self._present = Present(settings)
        self._present.get()

    def __enter__(self) -> Searcher:
        """Return this searcher; at the end of the block it is closed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the searcher."""
        self.close()

    def close(self) -> None:
        """Close the connection, so that another process can open a Milvus Lite file. Later searches are refused.

        Other objects in this process that use the same Milvus connect again on their next call.
        """
        self._present.close()

    def search(self, query: Query) -> Results:
        """Run a query. Images that the query names by id are not among the hits.

        A query without parts lists the images that match its filter, in the order of a column.

        Raises:
            InputError: a filter, an image or an id cannot be used, or the parts cancel each other out.
            ModelMismatch, CollectionNotFound, StoreError: as for the class; the collection may have changed.
        """
        if not isinstance(query, Query):
            raise WrongType(
                f"search takes a Query, not {type(query).__name__}: by_text, by_image, or Query((Part(…),))"
            )
        with self.reading() as opened:
            try:
                results = opened.search(query)
            except SearchError as error:
                now = self._present.after(error)
                if now is opened:
                    raise
                results = now.search(query)
        if self.on_results is not None:
            self.on_results(results)
        return results

    def by_text(self, text: str, limit: int = 10, filter: Filter | str | None = None) -> Results:
        """Find images that match a text. The text is used as it is; `parse_query` reads the query language.

        Raises:
            InputError: the text is blank, or the filter cannot be used.
        """
        return self.search(Query((Part(text),), limit, filter=filter))

    def by_image(self, source: ImageSource, limit: int = 10, filter: Filter | str | None = None) -> Results:
        """Find images like this one: a path, a URL, a file's bytes, or anything else that `read_object` takes.

        Raises:
            InputError: the image cannot be read; the message says why.
        """
        return self.search(Query((Part(image=source),), limit, filter=filter))

    def similar_to(self, image_id: int | str, limit: int = 10, filter: Filter | str | None = None) -> Results:
        """Find images like one in the collection, except that one. Uses its stored embedding, without a model call.

        Raises:
            InputError: the collection has no image with this id.
        """
        return self.search(Query((Part(id=image_id),), limit, filter=filter))

    def get(self, image_id: int | str) -> Hit | None:
        """Return one image of the collection by id, with its fields; its rank is 0, its score 1."""
        with self.reading() as opened:
            return opened.get(Part(id=image_id).id or 0)  # an int for a number of any integer type

    def facets(
        self, filter: Filter | str | None = None, ids: Sequence[int | str] | None = None,
        columns: Sequence[str] | None = None, folder: str = "", folders: int = MOST_FOLDERS,
    ) -> Facets:  # fmt: skip
        """Count the values of the columns, the dates and the folders of the images that match a filter.

        Args:
            ids: count only images with these ids, for example the hits of a search.
            columns: names of columns; None for all.
            folder: the folder whose subfolders to return; '' starts at the first folder that branches.
            folders: maximum number of folders, the upper levels first.

        Raises:
            InputError: the filter cannot be used, or a column does not exist.
        """
        with self.reading() as opened:
            return opened.facets(filter, ids, columns, folder, folders)

    def offer_dates(self, line: str, language: str) -> Offer | None:
        """Return the date that a line may mean, if the collection has a column `taken`; see `offer_dates`."""
        with self.reading() as opened:
            has_dates = any(field.name == TAKEN and field.type is FieldType.DATE for field in opened.fields)
            return offer_dates(line, language, date.today()) if has_dates else None

    def info(self) -> schema.CollectionInfo:
        """Return a summary of the collection and the model that made it."""
        with self.reading() as opened:
            return opened.info()

    def parse_filter(self, text: str) -> Filter:
        """Read a filter on this collection's columns.

        Raises:
            InputError: the text is not a filter, a column does not exist, or this Milvus lacks an operator.
        """
        with self.reading() as opened:
            return opened.parse_filter(text)

    @property
    def collection(self) -> Collection:
        """The current collection."""
        return self._now().collection

    @property
    def settings(self) -> Settings:
        """The settings, with the collection's own model if they named none."""
        return self._now().settings

    @property
    def fields(self) -> tuple[Field, ...]:
        """The current columns."""
        return self._now().fields

    @property
    def field_names(self) -> list[str]:
        """The names of the current columns."""
        return self._now().field_names

    @contextmanager
    def reading(self, limits: calls.Patience = calls.SEARCHING) -> Iterator[Opened]:
        """Yield the current collection. Calls inside the block do not wait long for a server that cannot be reached.

        Raises:
            CollectionNotFound, ModelMismatch, ModelError, StoreError: as for the class.
        """
        with nullcontext() if self.is_lite else calls.patience(limits):
            yield self._present.get()

    def probe(self) -> None:
        """Check, within two seconds, that a search would succeed now.

        Raises:
            CollectionNotFound, ModelMismatch, ModelError, StoreError: the reason why it would not.
        """
        with self.reading(calls.PROBING) as opened:
            if not self.is_lite:
                opened.collection.query("", [schema.MODEL], strong=False, limit=1)
            opened.embedder.probe()

    def _now(self) -> Opened:
        with self.reading() as opened:
            return opened
