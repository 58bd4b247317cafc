"""Execution: the steps of a plan, carried out in batches, a few of them at the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine import Profile, run
from ..fields import EMBEDDING, ID
from ..milvus import schema
from ..milvus.collection import Collection
from .plan import PLAN_ROWS, Embed, Reuse, Step
from .summary import Outcome

if TYPE_CHECKING:
    from towhee.runtime.runtime_pipeline import RuntimePipeline

# Batches at the same time: one decoding, one in the model, one on its way to Milvus. This number, and not the length
# of the source, bounds the memory: Towhee's own queues hold 1,000 rows of any size.
IN_FLIGHT = 3


class Executor:
    """Carries out plans and yields what became of each row, batch by batch in the order in which they were started.

    Args:
        pipeline: made by `build_insert`.
        batch_size: images of one call of the pipeline.
    """

    def __init__(
        self, collection: Collection, pipeline: RuntimePipeline, batch_size: int, profile: Profile | None = None
    ) -> None:
        self._collection = collection
        self._pipeline = pipeline
        self._batch_size = batch_size
        self._profile = profile
        self._pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="insert")
        self._in_flight: deque[tuple[Sequence[str], Future[list[Outcome]]]] = deque()  # with the contents it embeds
        self._to_embed: list[Embed] = []  # until there are enough for a batch
        self._embedding: set[str] = set()  # contents of `_to_embed` and `_in_flight`
        self._duplicates: list[Reuse] = []  # until the row with the same content is stored

    @property
    def capacity(self) -> int:
        """Images in flight at the same time."""
        return IN_FLIGHT * self._batch_size

    def execute(self, plans: Iterable[list[Step]]) -> Iterator[list[Outcome]]:
        """Carry out the plans to the end."""
        for plan in plans:
            yield from self._start(plan)
            yield from self._send_batches()
            if len(self._duplicates) >= PLAN_ROWS:
                yield from self._store_duplicates()
        yield from self._store_duplicates()
        yield from self._send_batches(smallest=1)
        yield from self.finish()

    def finish(self) -> Iterator[list[Outcome]]:
        """Wait for what is in flight. After Ctrl-C this ends the run; rows that wait for a batch are left out."""
        while self._in_flight:
            yield self._collect()

    def close(self, wait: bool = False) -> None:
        """End the threads, without starting what is still waiting. May be called again."""
        self._pool.shutdown(wait=wait, cancel_futures=True)

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
        """Store rows with embeddings that are stored already. Rows whose content is being embedded have to wait."""
        if not steps:
            return
        ready = [step for step in steps if step.embed.content not in self._embedding]
        self._duplicates += (step for step in steps if step.embed.content in self._embedding)
        wanted = list({step.holder for step in ready})
        holders = self._collection.get(wanted, [schema.HASH, schema.MODEL, schema.PRECISION, EMBEDDING])
        entities: list[dict[str, Any]] = []
        outcomes: list[Outcome] = []
        replaced: list[int] = []
        for step in ready:
            entity, holder = step.embed.entity, holders.get(step.holder, {})
            # The holder may have been rejected, or may have changed since it was looked up.
            if all(holder.get(name) == entity[name] for name in (schema.HASH, schema.MODEL)):
                embedding = np.asarray(holder[EMBEDDING], np.float32)
                entities.append({**entity, EMBEDDING: embedding, schema.PRECISION: holder[schema.PRECISION]})
                outcomes.append(step.embed.outcome(step.kind))
                replaced += step.embed.match.replaces
            else:
                self._queue(step.embed)
        if entities:
            yield from self._send(self._store, entities, outcomes, replaced)

    def _store_duplicates(self) -> Iterator[list[Outcome]]:
        if self._duplicates:
            yield from self._send_batches(smallest=1)
            yield from self.finish()
            duplicates, self._duplicates = self._duplicates, []
            yield from self._reuse(duplicates)

    def _send_batches(self, smallest: int = 0) -> Iterator[list[Outcome]]:
        """Send full batches to the pipeline; with `smallest` also a last one of fewer images."""
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

    def _store(self, entities: list[dict[str, Any]], outcomes: list[Outcome], replaced: list[int]) -> list[Outcome]:
        self._collection.upsert(entities)
        self._delete(replaced)
        return outcomes

    def _delete(self, ids: list[int]) -> None:
        if ids:
            self._collection.delete(ids)

    def _embed(self, batch: list[Embed]) -> list[Outcome]:
        """Run the pipeline on one batch, which embeds and stores it. Rows whose image broke are deleted."""
        entities, paths = [step.entity for step in batch], [step.row.path for step in batch]
        reasons, written = run(self._pipeline, entities, paths, profile=self._profile)
        outcomes = list(map(_outcome, batch, reasons, written))
        self._delete([key for step, outcome in zip(batch, outcomes, strict=True) for key in _lost(step, outcome.done)])
        return outcomes


def _lost(step: Embed, done: str) -> tuple[int, ...]:
    """Ids of the rows that are to be deleted after a step: of a broken file, or now stored under another id."""
    if done == "broken" and step.before is not None:
        return (step.before[ID],)
    return step.match.replaces if done else ()


def _outcome(step: Embed, reason: str, written: bool) -> Outcome:
    if written:
        return step.outcome("inserted" if step.before is None else "updated")
    done = "broken" if step.has_other_image else ""
    return step.outcome(done, reason or "the model gives no finite embedding for it")
