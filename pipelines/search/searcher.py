"""The one object that all front ends search with."""

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

    The first query with a text or an image loads the model. A collection that was replaced, embedded by another model
    or given other columns or another index is opened again, within a second on a server and at once on Milvus Lite.
    A server that is gone is an error within three seconds, and is asked again with the next call.

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
        """Give the Milvus back: another process can then open a Milvus Lite file. Later searches are refused.

        Other objects of this process that use the same Milvus connect again with their next call.
        """
        self._present.close()

    def search(self, query: Query) -> Results:
        """Answer a query. Images of the collection that the query names by id are not among the hits.

        A query without parts lists the images that its filter leaves, in the order of a column.

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
        """Find images that fit a text. The text is searched as it is; `parse_query` reads the query language.

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
        """Find images like one of the collection, without that one. Takes its stored embedding: no model call.

        Raises:
            InputError: the collection has no image of this id.
        """
        return self.search(Query((Part(id=image_id),), limit, filter=filter))

    def get(self, image_id: int | str) -> Hit | None:
        """Return one image of the collection by id, with its fields; its rank is 0, its score 1."""
        with self.reading() as opened:
            return opened.get(Part(id=image_id).id or 0)  # an int, of whatever type the number is

    def facets(
        self, filter: Filter | str | None = None, ids: Sequence[int | str] | None = None,
        columns: Sequence[str] | None = None, folder: str = "", folders: int = MOST_FOLDERS,
    ) -> Facets:  # fmt: skip
        """Count the values of the columns, the dates and the folders of the images that a filter leaves.

        Args:
            ids: count only these of them, for example those of hits.
            columns: names of columns; None for all.
            folder: the folder whose subfolders are wanted; '' starts at the first one that branches.
            folders: how many folders are returned, the upper ones first.

        Raises:
            InputError: the filter cannot be used, or a column does not exist.
        """
        with self.reading() as opened:
            return opened.facets(filter, ids, columns, folder, folders)

    def offer_dates(self, line: str, language: str) -> Offer | None:
        """Return the date that a line perhaps means, for a collection with the column `taken`; see `offer_dates`."""
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
        """The present collection."""
        return self._now().collection

    @property
    def settings(self) -> Settings:
        """The settings, with the collection's own model if they named none."""
        return self._now().settings

    @property
    def fields(self) -> tuple[Field, ...]:
        """The present columns."""
        return self._now().fields

    @property
    def field_names(self) -> list[str]:
        """The names of the present columns."""
        return self._now().field_names

    @contextmanager
    def reading(self, limits: calls.Patience = calls.SEARCHING) -> Iterator[Opened]:
        """Give the collection as it is now, for some calls; none of them waits long for a server that is gone.

        Raises:
            CollectionNotFound, ModelMismatch, ModelError, StoreError: as for the class.
        """
        with nullcontext() if self.is_lite else calls.patience(limits):
            yield self._present.get()

    def probe(self) -> None:
        """Find out, within two seconds, whether a search would be answered now.

        Raises:
            CollectionNotFound, ModelMismatch, ModelError, StoreError: why it would not.
        """
        with self.reading(calls.PROBING) as opened:
            if not self.is_lite:
                opened.collection.query("", [schema.MODEL], strong=False, limit=1)
            opened.embedder.probe()

    def _now(self) -> Opened:
        with self.reading() as opened:
            return opened
