"""Feeds a pipeline from a source: compares with the collection, sends what is new, counts what comes back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from ..engine import Profile, run
from ..errors import StoreFull
from ..milvus import connection, schema
from ..milvus.collection import Collection
from ..sources.source import Row, Source
from .compare import Changed, Comparer
from .contents import Contents
from .rejects import RejectFile
from .summary import Progress, Summary

if TYPE_CHECKING:
    from towhee.runtime.runtime_pipeline import RuntimePipeline

# Rows compared with the collection at a time; as many as one look-up takes.
COMPARE_ROWS = 1000


class Outgoing(NamedTuple):
    """A row on its way into the collection, and the count of the summary that it adds to."""

    item: Changed
    outcome: str


class Feed:
    """One run. Used as a context, which ends it: at the end, at Ctrl-C or at an error, all in flight is counted.

    Ctrl-C inside the context lets what is in flight land and leaves the summary `interrupted`; a second one ends it
    at once.
    """

    def __init__(
        self, collection: Collection, pipeline: RuntimePipeline, batch_size: int, in_flight: int,
        summary: Summary, rejects: RejectFile, profile: bool = False, on_progress: Progress | None = None,
    ) -> None:  # fmt: skip
        self._collection = collection
        self._pipeline = pipeline
        self._batch_size = batch_size
        self._in_flight = in_flight
        self._summary = summary
        self._rejects = rejects
        self._profile = Profile() if profile else None
        self._on_progress = on_progress or (lambda summary, total: None)
        self._pool = ThreadPoolExecutor(in_flight, thread_name_prefix="insert")
        self._flying: deque[tuple[list[Outgoing], Future[list[str]]]] = deque()
        self._waiting: list[Outgoing] = []  # for a full batch
        self._twins: list[Changed] = []  # for an image with the same content to land
        self._contents = Contents(collection, summary.model)
        self._total = 0
        self.rejected: set[int] = set()
        self._start = time.perf_counter()

    def take(self, source: Source, name: str, checksum: bool) -> Comparer:
        """Takes a source to its end; returns the comparer, which knows the rows that have a file."""
        comparer = Comparer(self._collection, self._summary.model, name, checksum)
        self._total += source.total
        for chunk in _first_cut(source.chunks(COMPARE_ROWS), self._in_flight * self._batch_size):
            start = time.perf_counter()
            comparison = comparer.compare(chunk)
            for row, reason in comparison.rejected:
                self._reject(row, reason)
            self._summary.unchanged += comparison.unchanged
            self._summary.rows += comparison.unchanged
            self._sort(comparison.changed)
            if self._profile:
                self._profile.add("compare with the collection", time.perf_counter() - start)
            self._report()
            self._send_full_batches()
            if len(self._twins) >= COMPARE_ROWS:
                self._settle_twins()
        while self._twins:
            self._settle_twins()
        self._send_full_batches(also_the_last=True)
        self._land_all()
        return comparer

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            if isinstance(error, KeyboardInterrupt):
                self._summary.interrupted = True
                self._report()
                self._land_all()
                self._collection.flush()
        finally:
            self._rejects.close()
            self._pool.shutdown(wait=False, cancel_futures=True)
        if isinstance(error, StoreFull):
            # Reopened, Milvus Lite has again what its failed write hid.
            self._pool.shutdown()
            connection.close(self._collection.uri)
        return isinstance(error, KeyboardInterrupt)

    def _sort(self, changed: Sequence[Changed]) -> None:
        """Each changed row to where its embedding comes from: its own row, one of equal content, or the model."""
        kept = [item for item in changed if item.keeps_embedding]
        others = [item for item in changed if not item.keeps_embedding]
        known = self._contents.find({item.content for item in others})
        holders = {known[item.content]: item.content for item in others if item.content in known}
        embeddings = self._contents.embeddings({**holders, **{item.row.id: item.content for item in kept}}.items())
        ready = []
        for item in changed:
            holder = item.row.id if item.keeps_embedding else known.get(item.content)
            if self._contents.is_in_flight(item.content):
                self._twins.append(item)
            elif holder in embeddings:
                item.entity[schema.EMBEDDING] = embeddings[holder]
                ready.append(Outgoing(item, "metadata_updated" if item.keeps_embedding else "deduplicated"))
            else:
                self._contents.send(item.content, item.row.id)
                self._waiting.append(Outgoing(item, "inserted" if item.before is None else "updated"))
        if ready:
            self._send(ready, self._store_ready)

    def _settle_twins(self) -> None:
        """Sorts again the rows that waited for another with the same content, now that it has landed."""
        self._send_full_batches(also_the_last=True)
        self._land_all()
        twins, self._twins = self._twins, []
        self._sort(twins)

    def _send_full_batches(self, also_the_last: bool = False) -> None:
        while len(self._waiting) >= (1 if also_the_last else self._batch_size):
            batch, self._waiting = self._waiting[: self._batch_size], self._waiting[self._batch_size :]
            self._send(batch, self._embed_and_store)

    def _send(self, batch: list[Outgoing], how: Callable[[list[Outgoing]], list[str]]) -> None:
        self._flying.append((batch, self._pool.submit(how, batch)))
        if len(self._flying) >= self._in_flight:
            self._land()

    def _embed_and_store(self, batch: list[Outgoing]) -> list[str]:
        """Runs the pipeline on one batch; returns for each row why it was left out, '' where it was stored."""
        entities, paths = [each.item.entity for each in batch], [each.item.row.path for each in batch]
        reasons, written = run(self._pipeline, entities, paths, profile=self._profile)
        unusable = "the model gives no finite embedding for it"
        return [reason or ("" if stored else unusable) for reason, stored in zip(reasons, written, strict=True)]

    def _store_ready(self, batch: list[Outgoing]) -> list[str]:
        """Stores rows whose embedding is known."""
        self._collection.upsert(each.item.entity for each in batch)
        return [""] * len(batch)

    def _land(self) -> None:
        """Counts the oldest batch, so that counts and reject list keep the source's order."""
        reasons = self._flying[0][1].result()
        for (item, outcome), reason in zip(self._flying.popleft()[0], reasons, strict=True):
            if outcome in ("inserted", "updated"):
                self._contents.land(item.content, stored=not reason)
            if reason:
                self._reject(item.row, reason)
            else:
                self._summary.count(outcome)
        self._rejects.flush()
        self._report()

    def _land_all(self) -> None:
        while self._flying:
            self._land()

    def _reject(self, row: Row, reason: str) -> None:
        self._summary.count("rejected")
        self.rejected.add(row.id)
        self._rejects.add(row, reason)

    def _report(self) -> None:
        self._on_progress(self._summary, self._total)

    def finish(self) -> None:
        """Puts the time, and what belongs to it, into the summary."""
        summary = self._summary
        seconds = time.perf_counter() - self._start
        summary.seconds = round(seconds, 3)
        summary.images_per_second = round((summary.inserted + summary.updated) / seconds, 1)
        summary.rejects_file = self._rejects.written_to
        if self._profile:
            summary.step_seconds = {step: round(value, 3) for step, value in self._profile.seconds.items()}


def _first_cut(chunks: Iterator[list[Row]], count: int) -> Iterator[list[Row]]:
    """The same rows, of the first chunk `count` ahead: comparing reads the files, and the model waits for the first."""
    first = next(chunks, [])
    yield from filter(None, (first[:count], first[count:]))
    yield from chunks
