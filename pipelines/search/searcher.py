"""The one object that all front ends search with. It looks after the collection and opens it again when it changed."""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from ..errors import CollectionNotFound, ModelMismatch, SearchError, StoreUnavailable, WrongType
from ..fields import Field
from ..forks import refuse_fork
from ..milvus import connection, schema
from ..milvus.collection import Collection
from ..milvus.lite import is_lite
from ..milvus.stamp import Stamp, stamp_of
from ..query import Filter, ImageSource, Part, Query
from ..settings import Settings
from .opened import Opened
from .results import Hit, Results

# How long what a server said of the collection is believed. Looking at a Milvus Lite file costs microseconds.
_CHECK_SECONDS = 1.0
# While a collection takes another's place, there is none of its name for a moment.
_EXCHANGE_SECONDS = 1.0
# Threads that wait for another one's question to a server give up after this time.
_WAIT_SECONDS = 2.5


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
        self._requested = settings
        self._lock = threading.Lock()
        self._opened: Opened | None = None  # None while there is none that can be searched
        self._previous: Opened | None = None
        self._stamp: Stamp | None = None
        self._checked = -math.inf
        self._failure: tuple[float, StoreUnavailable] | None = None  # when the last check ended, and its error
        self._closed = False
        self._present()

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
        with self._lock:
            self._closed, self._opened, self._previous = True, None, None
            connection.close(self._requested.uri, self._requested.token)

    def search(self, query: Query) -> Results:
        """Answer a query. Images of the collection that the query names by id are not among the hits.

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
                self._checked = -math.inf
                if isinstance(error, StoreUnavailable):
                    raise
                if isinstance(error, ModelMismatch):
                    self._stamp = None
                now = self._present()
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
    def reading(self, limits: connection.Patience = connection.SEARCHING) -> Iterator[Opened]:
        """Give the collection as it is now, for some calls; none of them waits long for a server that is gone.

        Raises:
            CollectionNotFound, ModelMismatch, ModelError, StoreError: as for the class.
        """
        with nullcontext() if self.is_lite else connection.patience(limits):
            yield self._present()

    def probe(self) -> None:
        """Find out, within two seconds, whether a search would be answered now.

        Raises:
            CollectionNotFound, ModelMismatch, ModelError, StoreError: why it would not.
        """
        with self.reading(connection.PROBING) as opened:
            if not self.is_lite:
                opened.collection.query("", [schema.MODEL], strong=False, limit=1)

    def _now(self) -> Opened:
        with self.reading() as opened:
            return opened

    def _present(self) -> Opened:
        """Return what is open, after a look at whether it is still the present collection.

        One thread asks. Those that wait for it share its answer, so that a server that is gone costs each of them no
        more than a single question.
        """
        refuse_fork()  # before a lock that another thread of the parent may have held
        asked, opened = time.monotonic(), self._opened
        if opened is not None and not self.is_lite and asked - self._checked < _CHECK_SECONDS:
            return opened
        if not self._lock.acquire(timeout=-1 if self.is_lite else _WAIT_SECONDS):
            raise StoreUnavailable("Milvus does not answer; try again in a moment")
        try:
            if self._closed:
                raise SearchError("this Searcher was closed: make another one")
            if self._failure is not None and self._failure[0] > asked:
                raise copy.copy(self._failure[1])
            if self._opened is None or self.is_lite or time.monotonic() - self._checked >= _CHECK_SECONDS:
                self._check()
            assert self._opened is not None
            return self._opened
        except StoreUnavailable as error:
            self._failure = (time.monotonic(), error)
            raise
        finally:
            self._lock.release()

    def _check(self) -> None:
        stamp = stamp_of(self._watched)
        end = time.monotonic() + _EXCHANGE_SECONDS
        while stamp is None and self._opened is not None and time.monotonic() < end:
            time.sleep(0.05)
            stamp = stamp_of(self._watched)
        if stamp is None:
            self._opened = None
            self._watched.describe()  # raises what is wrong; if it came into being just now, the next call finds it
            raise CollectionNotFound(f"there is no collection '{self._watched.name}'")
        if self._opened is None or (stamp != self._stamp and stamp.vector_index):
            if self._stamp is not None and stamp.database != self._stamp.database:
                # Somebody deleted the Milvus Lite file, and this is another one. What is open holds the old one.
                connection.close(self._requested.uri, self._requested.token)
            self._opened = None
            self._opened = self._previous = Opened(self._requested, self._previous)
            self._stamp = stamp
        self._checked = time.monotonic()

    @property
    def _watched(self) -> Collection:
        """The collection of this name, by the present connection."""
        return Collection(self._requested.uri, self._requested.collection, self._requested.token)
