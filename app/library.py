"""The collection as the page needs it: opened once it is there, described, sampled and asked."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.errors import CollectionNotFound
from pipelines.fields import ID, PATH
from pipelines.milvus.connection import close
from pipelines.milvus.lite import is_lite
from pipelines.query import Query
from pipelines.search.results import Hit, Results
from pipelines.search.searcher import Searcher
from pipelines.settings import Settings

from .filter_form import Column, describe_columns

SAMPLES = 24
# A server's collection may grow while the page runs; a Milvus Lite file is ours alone meanwhile.
OVERVIEW_SECONDS = 60.0
# Values, ranges and samples come from so many rows, the most that one call of a server returns.
_LOOKED_AT = 16_384
_SMALLEST_ID = -(2**63) + 1


@dataclass(frozen=True, slots=True)
class Overview:
    """What the page says about the collection. `model` is '' and `rows` 0 while there is none."""

    rows: int = 0
    model: str = ""
    columns: tuple[Column, ...] = ()
    labels: list[str] = field(default_factory=list)
    samples: list[Hit] = field(default_factory=list)


class Library:
    """One collection. May be shared by threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._searcher: Searcher | None = None
        self._describing = threading.Lock()
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
        """Rows, model, columns and some images, OVERVIEW_SECONDS old or a little more: nobody waits for a new one.

        Raises:
            SearchError: the database or the model cannot be had.
        """
        searcher = self.open()
        if searcher is None:
            return Overview()
        with self._describing:
            now = time.monotonic()
            if not self._overview.rows:
                self._overview = _describe(searcher)
                self._overview_until = now + OVERVIEW_SECONDS
            elif now > self._overview_until:
                self._overview_until = now + OVERVIEW_SECONDS
                threading.Thread(target=self._describe_again, args=[searcher], daemon=True).start()
            return self._overview

    def find(self, query: Query) -> Results:
        """Answers a query.

        Raises:
            SearchError: with a message for the person who asked.
        """
        return self._opened().search(query)

    def get(self, image_id: int) -> Hit | None:
        """One image of the collection, None where there is no such id.

        Raises:
            SearchError: the database cannot be reached.
        """
        searcher = self.open()
        return searcher.get(image_id) if searcher else None

    @property
    def image_size(self) -> int:
        """Edge of the model's input, in pixels.

        Raises:
            SearchError: there is no collection yet.
        """
        from pipelines.models.registry import get_model

        return get_model(self._opened().settings.model).image_size

    def warm_up(self) -> None:
        """Builds the pipelines and loads what the first query would otherwise wait for."""
        searcher = self.open()
        if searcher is not None:
            searcher.by_text("a photograph", 1)
            self.overview()

    def _describe_again(self, searcher: Searcher) -> None:
        with contextlib.suppress(Exception):  # the next search meets it too, and says so
            self._overview = _describe(searcher)

    def _opened(self) -> Searcher:
        searcher = self.open()
        if searcher is None:
            raise CollectionNotFound("there are no images to search yet")
        return searcher


def _open(settings: Settings) -> Searcher | None:
    try:
        return Searcher(settings)
    except CollectionNotFound:
        # An open Milvus Lite file is locked against the insert that the page is about to ask for.
        close(settings.uri, settings.token)
        return None


def _describe(searcher: Searcher) -> Overview:
    info = searcher.info()
    fields = [column for column in info.fields if column.name in searcher.field_names]
    names = [ID, PATH, *(column.name for column in fields)]
    rows = searcher.collection.query(f"{ID} >= {_SMALLEST_ID}", names, limit=_LOOKED_AT)
    labels = sorted({str(row.get("label") or "") for row in rows} - {""})
    columns = describe_columns(fields, rows, is_lite(searcher.settings.uri))
    return Overview(info.rows, searcher.settings.model, columns, labels, _sample(searcher, rows))


def _sample(searcher: Searcher, rows: Sequence[Mapping[str, Any]]) -> list[Hit]:
    """Images for the start page, as different as the labels allow, the same ones each time."""
    firsts: dict[object, int] = {}
    for row in rows:
        firsts.setdefault(row.get("label") or row[ID], row[ID])
    ids = list(firsts.values())
    if len(ids) < SAMPLES:  # few labels: fill up
        taken = set(ids)
        ids += [row[ID] for row in rows if row[ID] not in taken]
    step = max(1, len(ids) / SAMPLES)
    chosen = [ids[int(index * step)] for index in range(min(SAMPLES, len(ids)))]
    return [hit for hit in map(searcher.get, chosen) if hit is not None]
