"""The collection that the page serves: opened as soon as it exists, described, sampled and searched."""

from __future__ import annotations

import contextlib
import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from pipelines.errors import CollectionNotFound
from pipelines.fields import ID, PATH
from pipelines.milvus.connection import close
from pipelines.query import Part
from pipelines.search.opened import Opened
from pipelines.search.results import Hit, Results
from pipelines.search.searcher import Searcher
from pipelines.settings import Settings

from .filter_form import Column, describe_columns, readable
from .search_state import SearchState

SAMPLES = 24
EXAMPLES = 8
# A collection on a server may grow while the page runs. Only this process writes to its Milvus Lite file.
OVERVIEW_SECONDS = 60.0
# Values, ranges and samples come from this many rows, the most that one call to a server returns.
_SAMPLED_ROWS = 16_384
_LARGEST_ID = 2**63 - 1


class Example(TypedDict):
    """A suggested search and its address."""

    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Overview:
    """What the page tells about the collection. `model` is '' and `rows` 0 while there is no collection."""

    rows: int = 0
    model: str = ""
    columns: tuple[Column, ...] = ()
    examples: tuple[Example, ...] = ()
    samples: tuple[Hit, ...] = ()


class Library:
    """One collection. May be shared by threads.

    on_results: called with the results of every search, to measure them.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.on_results: Callable[[Results], None] | None = None
        self._lock = threading.Lock()
        self._searcher: Searcher | None = None
        self._describing = threading.Lock()
        self._described: Opened | None = None
        self._overview = Overview()
        self._overview_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether there was a collection once. Opening a Milvus Lite file locks other processes out."""
        return self._searcher is not None

    def searcher(self) -> Searcher:
        """Return the searcher of the collection, which is opened as soon as it exists.

        Raises:
            CollectionNotFound: there is no collection yet, or it is empty.
            SearchError: the database or the model is not available.
        """
        with self._lock:
            if self._searcher is None:
                try:
                    self._searcher = Searcher(self.settings)
                except CollectionNotFound:
                    # An open Milvus Lite file is locked, and the page is about to ask for an insert into it.
                    close(self.settings.uri, self.settings.token)
                    raise
            self._searcher.on_results = self.on_results
            return self._searcher

    def overview(self) -> Overview:
        """Describe the collection as it was up to about OVERVIEW_SECONDS ago. A new overview is made in the background.

        Raises:
            SearchError: the database or the model is not available.
        """
        try:
            with self.searcher().reading() as opened, self._describing:
                now = time.monotonic()
                if self._described is not opened or not self._overview.rows:
                    self._overview, self._described = _describe(opened), opened
                    self._overview_until = now + OVERVIEW_SECONDS
                elif now > self._overview_until:
                    self._overview_until = now + OVERVIEW_SECONDS
                    threading.Thread(target=self._describe_again, args=[opened], daemon=True).start()
                return self._overview
        except CollectionNotFound:
            return Overview()

    @property
    def insert_command(self) -> str:
        """The command that fills this collection."""
        command = self.settings.command("insert photos/")
        return f"{command} --model {shlex.quote(self.settings.model)}" if self.settings.model else command

    def warm_up(self) -> None:
        """Build the pipelines and load the model, so that the first search does not wait for them.

        Raises:
            SearchError: there is no collection, or the database or the model is not available.
        """
        self.searcher().by_text("a photograph", 1)
        self.overview()

    def _describe_again(self, opened: Opened) -> None:
        with contextlib.suppress(Exception):  # the next search meets the same error and shows it
            self._overview = _describe(opened)


def _describe(opened: Opened) -> Overview:
    fields = opened.fields
    keys = [ID, PATH, *(column.key for column in fields)]
    rows = [
        {ID: row[ID], PATH: row[PATH], **{column.name: row[column.key] for column in fields}}
        for row in opened.collection.query(f"{ID} <= {_LARGEST_ID}", keys, limit=_SAMPLED_ROWS)
    ]
    columns = describe_columns(fields, rows, opened.is_lite)
    count = opened.collection.count(strong=False)
    return Overview(count, opened.settings.model, columns, _examples(rows), _samples(opened, rows))


def _examples(rows: Sequence[Mapping[str, Any]]) -> tuple[Example, ...]:
    """Choose some labels, spread over the alphabet. Long labels make poor examples."""
    labels = map(readable, sorted({str(row.get("label") or "") for row in rows}))
    texts = _spread([label for label in labels if 2 < len(label) <= 24], EXAMPLES)
    return tuple({"text": text, "url": SearchState().with_query([Part(text)], []).url} for text in texts)


def _samples(opened: Opened, rows: Sequence[Mapping[str, Any]]) -> tuple[Hit, ...]:
    """Choose images for the start page: one of each label first, the same ones each time."""
    firsts: dict[object, int] = {}
    for row in rows:
        firsts.setdefault(row.get("label") or row[ID], row[ID])
    ids = list(firsts.values())
    if len(ids) < SAMPLES:  # few labels
        taken = set(ids)
        ids += [row[ID] for row in rows if row[ID] not in taken]
    return tuple(hit for hit in map(opened.get, _spread(ids, SAMPLES)) if hit is not None)


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    step = max(1, len(items) / count)
    return [items[int(index * step)] for index in range(min(count, len(items)))]
