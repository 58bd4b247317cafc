"""Execution: carries out the steps of a plan in batches, a few of them at the same time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine import Profile, run
from ..errors import ModelUnavailable
from ..fields import EMBEDDING, ID
from ..milvus import schema
from ..milvus.collection import Collection
from .plan import PLAN_ROWS
from .steps import Embed, Reuse, Step
from .summary import Outcome
from .takeover import finish, marked

if TYPE_CHECKING:
    from towhee.runtime.runtime_pipeline import RuntimePipeline

# Number of batches in flight: one is decoded, one is in the model, one is on its way to Milvus. This bounds the memory,
# however long the source is. Towhee's own queues would hold 1,000 rows of any size.
IN_FLIGHT = 3
# Seconds to retry a batch while the model server cannot be reached (a call waits as long for Milvus), and seconds
# between two tries.
AWAY_SECONDS, RETRY_SECONDS = 180.0, 2.0


class Executor:
    """Carries out plans. Yields the outcome of each row, batch by batch, in the order in which batches were started.

    Args:
        pipeline: from `build_insert`.
        batch_size: number of images in one call of the pipeline.
        reading: from `build_metadata`; None if nothing is read from files that are not embedded.
    """

    def __init__(
        self, collection: Collection, pipeline: RuntimePipeline, batch_size: int, profile: Profile | None = None,
        reading: RuntimePipeline | None = None,
    ) -> None:  # fmt: skip
        self._collection, self._reading = collection, reading
        self._pipeline = pipeline
        self._batch_size = batch_size
        self._profile = profile
        self._pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="insert")
        self._in_flight: deque[tuple[Sequence[str], Future[list[Outcome]]]] = deque()  # with the contents to embed
        self._to_embed: list[Embed] = []  # steps that wait until there are enough for a batch
        self._embedding: set[str] = set()  # contents of `_to_embed` and `_in_flight`
        self._duplicates: list[Reuse] = []  # steps that wait until the row with the same content is stored

    @property
    def capacity(self) -> int:
        """Maximum number of images in flight."""
        return IN_FLIGHT * self._batch_size

    def execute(self, plans: Iterable[list[Step]]) -> Iterator[list[Outcome]]:
        """Carry out all plans."""
        for plan in plans:
            yield from self._start(plan)
            yield from self._send_batches()
            if len(self._duplicates) >= PLAN_ROWS:
                yield from self._store_duplicates()
        yield from self._store_duplicates()
        yield from self._send_batches(smallest=1)
        yield from self.finish()

    def finish(self) -> Iterator[list[Outcome]]:
        """Wait for the batches in flight. After Ctrl-C this ends the run, without the rows that wait for a batch."""
        while self._in_flight:
            yield self._collect()

    def close(self, wait: bool = False) -> None:
        """End the threads, without starting waiting tasks, and the pipeline's processes. May be called again."""
        self._pool.shutdown(wait=wait, cancel_futures=True)
        self._pipeline.flush()

    def _start(self, plan: list[Step]) -> Iterator[list[Outcome]]:
        for step in plan:
            if isinstance(step, Embed):
                self._queue(step)
        yield [step for step in plan if isinstance(step, Outcome)]
        yield from self._reuse([step for step in plan if isinstance(step, Reuse)])

    def _queue(self, step: Embed) -> None:
        self._to_embed.append(step)
        if step.content:
            self._embedding.add(step.content)

    def _reuse(self, steps: Sequence[Reuse]) -> Iterator[list[Outcome]]:
        """Store rows whose embeddings are already stored. Rows whose content is being embedded have to wait."""
        if not steps:
            return
        ready = [step for step in steps if step.embed.content not in self._embedding]
        self._duplicates += (step for step in steps if step.embed.content in self._embedding)
        wanted = list({step.holder for step in ready})
        holders = self._collection.get(wanted, [schema.HASH, schema.MODEL, schema.PRECISION, EMBEDDING])
        found: list[Reuse] = []
        for step in ready:
            entity, holder = step.embed.entity, holders.get(step.holder, {})
            # The holder may have been rejected, or may have changed since the look-up.
            if all(holder.get(name) == entity[name] for name in (schema.HASH, schema.MODEL)):
                embedding = np.asarray(holder[EMBEDDING], np.float32)
                entity |= {EMBEDDING: embedding, schema.PRECISION: holder[schema.PRECISION]}
                found.append(step)
            else:
                self._queue(step.embed)
        if found:
            yield from self._send(self._store, found)

    def _store_duplicates(self) -> Iterator[list[Outcome]]:
        if self._duplicates:
            yield from self._send_batches(smallest=1)
            yield from self.finish()
            duplicates, self._duplicates = self._duplicates, []
            yield from self._reuse(duplicates)

    def _send_batches(self, smallest: int = 0) -> Iterator[list[Outcome]]:
        """Send full batches to the pipeline; with `smallest`, also a last batch of at least this many images."""
        while len(self._to_embed) >= (smallest or self._batch_size):
            batch, self._to_embed = self._to_embed[: self._batch_size], self._to_embed[self._batch_size :]
            yield from self._send(self._embed, batch, contents=[step.content for step in batch])

    def _send(
        self, task: Callable[..., list[Outcome]], *arguments: Any, contents: Sequence[str] = ()
    ) -> Iterator[list[Outcome]]:
        self._in_flight.append((contents, self._pool.submit(task, *arguments)))
        if len(self._in_flight) >= IN_FLIGHT:
            yield self._collect()

    def _collect(self) -> list[Outcome]:
        """Wait for the oldest batch."""
        contents, future = self._in_flight[0]
        outcomes = future.result()
        self._in_flight.popleft()
        self._embedding.difference_update(contents)
        return outcomes

    def _store(self, steps: list[Reuse]) -> list[Outcome]:
        read = self._read_metadata([step.embed for step in steps if step.reads_file])
        changed = [step.embed for step in steps if step.kind != "unchanged"]
        self._collection.upsert(map(marked, changed))
        finish(self._collection, changed)
        return [step.embed.outcome(step.kind, read=read.get(step.embed.row.id, ())) for step in steps]

    def _read_metadata(self, steps: list[Embed]) -> dict[int, list[str]]:
        """Add the files' metadata to the entities. Return id → the columns for which its file has a value."""
        if self._reading is None or not steps:
            return {}
        (metadata,) = run(self._reading, [step.row.path for step in steps], profile=self._profile)
        for step, own in zip(steps, metadata, strict=True):
            step.entity.update(own)
        return {step.row.id: _told(own) for step, own in zip(steps, metadata, strict=True)}

    def _embed(self, batch: list[Embed]) -> list[Outcome]:
        """Embed and store one batch with the pipeline. Stored rows whose image is now broken are deleted."""
        entities, paths = list(map(marked, batch)), [step.row.path for step in batch]
        reasons, metadata, written = self._run(entities, paths)
        outcomes = list(map(_outcome, batch, reasons, metadata, written))
        finish(self._collection, [step for step, was_written in zip(batch, written, strict=True) if was_written])
        broken = [step.before for step, outcome in zip(batch, outcomes, strict=True) if outcome.done == "broken"]
        if ids := [row[ID] for row in broken if row is not None]:
            self._collection.delete(ids)
        return outcomes

    def _run(self, entities: list[Any], paths: list[str]) -> list[Any]:
        """Run the pipeline; retry while the model server cannot be reached. Only its last step changes anything."""
        until = time.monotonic() + AWAY_SECONDS
        while True:
            try:
                return run(self._pipeline, entities, paths, profile=self._profile)
            except ModelUnavailable:
                if time.monotonic() >= until:
                    raise
                time.sleep(RETRY_SECONDS)


def _told(metadata: Mapping[str, Any]) -> list[str]:
    return [key for key, value in metadata.items() if value not in (None, "")]


def _outcome(step: Embed, reason: str, metadata: Mapping[str, Any], written: bool) -> Outcome:
    if written:
        step.entity.update(metadata)
        return step.outcome("inserted" if step.before is None else "updated", read=_told(metadata))
    done = "broken" if step.has_other_image else ""
    return step.outcome(done, reason or "the model gives no finite embedding for it")
