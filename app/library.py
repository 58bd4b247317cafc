"""The collection that the page serves. It is opened as soon as it exists, described, sampled and searched."""

from __future__ import annotations

import contextlib
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from pipelines.errors import CollectionNotFound, ColumnsAwaited
from pipelines.fields import ID, LABEL
from pipelines.milvus.calls import SHOWING, in_turn, patience
from pipelines.milvus.connection import close
from pipelines.milvus.lite import is_lite
from pipelines.query import Part
from pipelines.search.facets import Value
from pipelines.search.opened import Opened
from pipelines.search.results import Hit, Results
from pipelines.search.searcher import Searcher
from pipelines.settings import Settings

from .form_fields import Column, describe_columns, readable
from .search_state import SearchState

SAMPLES = 24
EXAMPLES = 8
# Seconds after which the overview is made again. A collection on a server may grow while the page runs; only this
# process writes to its Milvus Lite file.
OVERVIEW_SECONDS = 60.0


class Example(TypedDict):
    """A suggested search and its URL."""

    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Overview:
    """What the page shows of the collection. While there is no collection, `model` is '' and `rows` is 0.

    is_complete: False while a server is still sending the columns.
    """

    rows: int = 0
    model: str = ""
    columns: tuple[Column, ...] = ()
    examples: tuple[Example, ...] = ()
    samples: tuple[Hit, ...] = ()
    is_complete: bool = True


class Library:
    """One collection. Threads can share it.

    is_filled_here: whether this process inserts into it. If not, a file without a collection is not kept open.
    on_results: called with the results of every search, for metrics.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.is_filled_here = False
        self.on_results: Callable[[Results], None] | None = None
        self._lock = threading.Lock()
        self._searcher: Searcher | None = None
        self._describing = threading.Lock()
        self._described: Opened | None = None
        self._overview = Overview()
        self._overview_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the collection was found and opened. An open Milvus Lite file is locked for other processes."""
        return self._searcher is not None

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Limit how long one request waits for a server that is gone: less than three seconds for all of its calls."""
        with contextlib.nullcontext() if is_lite(self.settings.uri) else patience(SHOWING):
            yield

    def searcher(self) -> Searcher:
        """Return the searcher of the collection. Each call tries to open the collection until that succeeds.

        Raises:
            CollectionNotFound: there is no collection yet, or it is empty.
            SearchError: the database or the model is not available.
        """
        with in_turn(self._lock):
            if self._searcher is None:
                try:
                    self._searcher = Searcher(self.settings)
                except CollectionNotFound:
                    # An open Milvus Lite file is locked, but the page tells the user to insert into it.
                    if not self.is_filled_here:
                        close(self.settings.uri, self.settings.token)
                    raise
            self._searcher.on_results = self.on_results
            return self._searcher

    def overview(self) -> Overview:
        """Return an overview that is at most about OVERVIEW_SECONDS old. It is renewed in the background.

        Raises:
            SearchError: the database or the model is not available.
        """
        try:
            with self.answering(), self.searcher().reading() as opened, in_turn(self._describing):
                now = time.monotonic()
                if self._described is not opened or not self._overview.rows or self._can_complete(opened):
                    self._renew(opened)
                    self._described = opened
                elif now > self._overview_until:
                    self._overview_until = now + OVERVIEW_SECONDS
                    threading.Thread(target=self._describe_again, args=[opened], daemon=True).start()
                return self._overview
        except CollectionNotFound:
            return Overview()

    def check_columns(self) -> None:
        """Raise ColumnsAwaited if a server is still sending the columns. Does not wait for them."""
        with self.searcher().reading() as opened:
            opened.browser.catalog.check()

    def describe_again(self) -> None:
        """Make the next overview include rows that were just inserted."""
        with self._describing:
            self._described = None

    @property
    def insert_command(self) -> str:
        """The command that inserts images into this collection."""
        command = self.settings.command("insert photos/")
        return f"{command} --model {shlex.quote(self.settings.model)}" if self.settings.model else command

    def warm_up(self) -> None:
        """Build the pipelines and load the model, so that the first search does not wait for them.

        Raises:
            SearchError: there is no collection, or the database or the model is not available.
        """
        self.searcher().by_text("a photograph", 1)
        self.overview()
        with self.searcher().reading() as opened:
            opened.browser.prepare()

    def _can_complete(self, opened: Opened) -> bool:
        """Whether the columns that the overview lacks have arrived."""
        if self._overview.is_complete:
            return False
        with contextlib.suppress(ColumnsAwaited):
            opened.browser.catalog.check()
            return True
        return False

    def _describe_again(self, opened: Opened) -> None:
        with contextlib.suppress(Exception):  # the next search fails with the same error and shows it
            self._renew(opened)

    def _renew(self, opened: Opened) -> None:
        try:
            self._overview = _describe(opened)
        except ColumnsAwaited:  # searches by words work without them
            self._overview = Overview(opened.count(), opened.settings.model, is_complete=False)
            self._overview_until = 0.0
            return
        is_current = self._overview.rows == opened.count()  # the columns lag behind during a large insert
        self._overview_until = time.monotonic() + (OVERVIEW_SECONDS if is_current else 1.0)


def _describe(opened: Opened) -> Overview:
    facets = opened.facets()
    labels = next((facet.values for facet in facets.columns if facet.field.name == LABEL), ())
    columns = describe_columns(facets, opened.is_lite)
    return Overview(facets.rows, opened.settings.model, columns, _examples(labels), _samples(opened))


def _examples(labels: Sequence[Value]) -> tuple[Example, ...]:
    """Choose some labels, spread over the alphabet. Long labels are poor examples."""
    names = map(readable, sorted(str(label.value) for label in labels))
    texts = _spread([name for name in names if 2 < len(name) <= 24], EXAMPLES)
    return tuple({"text": text, "url": SearchState().with_query([Part(text)], []).url} for text in texts)


def _samples(opened: Opened) -> tuple[Hit, ...]:
    """Choose images for the start page, beginning with one for each label. The choice is the same each time."""
    ids = opened.browser.first_of_each(LABEL)
    if len(ids) < SAMPLES:  # few labels
        taken = set(ids)
        ids += _spread([key for key in opened.browser.first_of_each(ID) if key not in taken], SAMPLES - len(ids))
    return tuple(hit for hit in map(opened.get, _spread(ids, SAMPLES)) if hit is not None)


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    step = max(1, len(items) / count)
    return [items[int(index * step)] for index in range(min(count, len(items)))]
