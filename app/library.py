"""The collection as the page needs it: opened once it is there, described, sampled and asked."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from pipelines.errors import CollectionNotFound
from pipelines.milvus.connection import close
from pipelines.milvus.schema import ID, text_literal
from pipelines.search import Hit, Results, Searcher
from pipelines.settings import Settings

from .query import Query

SAMPLES = 24
# A server's collection may grow while the page runs; a Milvus Lite file is ours alone meanwhile.
OVERVIEW_SECONDS = 60.0
_SAMPLED_FROM = 2_000
_SMALLEST_ID = -(2**63) + 1


@dataclass(frozen=True, slots=True)
class Overview:
    """What the page says about the collection. `model` is '' and `rows` 0 while there is none."""

    rows: int = 0
    model: str = ""
    labels: list[str] = field(default_factory=list)
    samples: list[Hit] = field(default_factory=list)


class Library:
    """One collection. May be shared by threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._searcher: Searcher | None = None
        self._overview = Overview()
        self._overview_until = 0.0

    def open(self) -> Searcher | None:
        """The collection's searcher, None while there is no collection or an empty one.

        Raises:
            SearchError: the database or the model cannot be had.
        """
        with self._lock:
            if self._searcher is None:
                self._searcher = _open(self.settings)
            return self._searcher

    def overview(self) -> Overview:
        """Rows, model, labels and some pictures; at most OVERVIEW_SECONDS old.

        Raises:
            SearchError: the database or the model cannot be had.
        """
        searcher = self.open()
        if searcher is None:
            return Overview()
        if time.monotonic() > self._overview_until:
            info = searcher.info()
            self._overview = Overview(info.rows, searcher.settings.model, searcher.labels(), _sample(searcher))
            self._overview_until = time.monotonic() + OVERVIEW_SECONDS
        return self._overview

    def find(self, query: Query) -> Results:
        """Answers a query.

        Raises:
            SearchError: with a message for the person who asked.
        """
        searcher = self._opened()
        expression = ""
        if query.label and "label" in searcher.field_names:
            expression = f"label == {text_literal(query.label)}"
        if query.like is not None:
            return searcher.similar_to(query.like, query.limit, expression)
        if query.picture is not None:
            return searcher.by_image(query.picture, query.limit, expression)
        return searcher.by_text(query.text, query.limit, expression)

    def get(self, picture_id: int) -> Hit | None:
        """One picture of the collection, None where there is no such id.

        Raises:
            SearchError: the database cannot be reached.
        """
        searcher = self.open()
        return searcher.get(picture_id) if searcher else None

    def warm_up(self) -> None:
        """Builds the pipelines and loads what the first query would otherwise wait for."""
        searcher = self.open()
        if searcher is not None:
            searcher.by_text("a photograph", 1)
            self.overview()

    def _opened(self) -> Searcher:
        searcher = self.open()
        if searcher is None:
            raise CollectionNotFound("there are no pictures to search yet")
        return searcher


def _open(settings: Settings) -> Searcher | None:
    try:
        return Searcher(settings)
    except CollectionNotFound:
        # An open Milvus Lite file is locked against the insert that the page is about to ask for.
        close(settings.uri, settings.token)
        return None


def _sample(searcher: Searcher) -> list[Hit]:
    """Pictures for the start page, as different as the labels allow, the same ones each time."""
    labelled = "label" in searcher.field_names
    rows = searcher.store.query(f"{ID} >= {_SMALLEST_ID}", [ID, "label"] if labelled else [ID], limit=_SAMPLED_FROM)
    firsts: dict[object, int] = {}
    for row in rows:
        firsts.setdefault(row["label"] if labelled else row[ID], row[ID])
    ids = list(firsts.values())
    if len(ids) < SAMPLES:  # few labels: fill up
        taken = set(ids)
        ids += [row[ID] for row in rows if row[ID] not in taken]
    step = max(1, len(ids) / SAMPLES)
    chosen = [ids[int(index * step)] for index in range(min(SAMPLES, len(ids)))]
    return [hit for hit in map(searcher.get, chosen) if hit is not None]
