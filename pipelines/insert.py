"""The insert pipeline, and the run that feeds it from a source and leaves out what is already there."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from .engine import Profile, run
from .errors import ModelMismatch
from .indexing.compare import Comparer, Pending
from .indexing.rejects import RejectFile
from .milvus.schema import reconcile
from .milvus.store import Store
from .models.clip import ClipModel, load_model
from .models.registry import get_model
from .settings import Settings
from .sources.source import Row, Source, open_source

if TYPE_CHECKING:
    from towhee.runtime.runtime_pipeline import RuntimePipeline

# Rows compared with the collection at a time; as many as one look-up takes.
COMPARE_ROWS = 1000
# Batches inside the pipeline at once: one decoding, one in the model, one on its way to Milvus. This, and not the
# length of the source, bounds the memory; Towhee's own queues hold 1,000 rows whatever their size.
IN_FLIGHT = 3

Progress = Callable[["Summary", int], None]


def build_insert_pipeline(settings: Settings) -> RuntimePipeline:
    """Declares the insert pipeline. One call takes one batch and returns why each picture was left out."""
    from towhee import ops, pipe

    settings = settings.with_model_of("")
    size = get_model(settings.model).image_size
    return (
        pipe.input("rows", "paths")
        .map("paths", ("pictures", "reasons"), ops.image_decode.cv2(
            "rgb", size=size, reasons=True, exact=settings.exact_preprocess))
        .map("pictures", "embeddings", ops.image_text_embedding.clip(
            model_name=settings.model, modality="image", device=settings.device, weights=settings.weights,
            runtime=settings.runtime))
        .map("embeddings", "embeddings", ops.towhee.np_normalize())
        .map(("rows", "embeddings"), "written", ops.ann_insert.milvus_rows(
            uri=settings.uri, collection_name=settings.collection, token=settings.token))
        .output("reasons", "written")
    )  # fmt: skip


@dataclass
class Summary:
    """What a run did. `rows` is the number looked at; the four counts add up to it."""

    source: str
    collection: str
    model: str
    rows: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    seconds: float = 0.0
    images_per_second: float = 0.0
    interrupted: bool = False
    rejects_file: str = ""
    runtime: str = ""
    step_seconds: dict[str, float] = field(default_factory=dict)


def run_insert(
    source: str | os.PathLike[str],
    settings: Settings,
    *,
    limit: int = 0,
    rejects: str = "",
    profile: bool = False,
    on_progress: Progress | None = None,
) -> Summary:
    """Indexes a CSV or a folder. A second run touches only what is new or changed.

    Args:
        limit: only the first so many rows; 0 takes all.
        rejects: the CSV (`id,path,reason`) for pictures that could not be used; by default `rejected.csv`,
            written only when there are any.
        on_progress: called with the summary so far and the total number of rows.

    Raises:
        InputError: the source or the options are not usable; nothing was done.
        ModelMismatch: the collection was made by another model.
        ModelError, StoreError: the model or Milvus cannot be reached.
    """
    rows = open_source(source, limit)
    return _InsertRun(rows, os.fspath(source), settings, rejects, profile, on_progress).run()


class _InsertRun:
    """One run: compare each chunk with the collection, feed what is new to the pipeline, count what comes back."""

    def __init__(
        self, source: Source, name: str, settings: Settings, rejects: str, profile: bool, on_progress: Progress | None
    ) -> None:
        self._source = source
        store = Store(settings.uri, settings.collection, settings.token)
        settings = settings.with_model_of(store.model() if store.exists() else "")
        model = load_model(settings.model, settings.weights, settings.device, settings.runtime)
        _prepare_collection(store, model, source)
        self._store = store
        self._comparer = Comparer(store, model.tag)
        self._pipeline = build_insert_pipeline(settings)
        self._batch_size = settings.batch_size or model.default_batch_size
        self._profile = Profile() if profile else None
        self._on_progress = on_progress or (lambda summary, total: None)
        self._rejects = RejectFile(rejects)
        self._summary = Summary(name, settings.collection, model.tag)
        self._summary.runtime = f"{model.description}, batch {self._batch_size}"

    def run(self) -> Summary:
        """Feeds the pipeline to the end, or to Ctrl-C, and leaves the collection sealed and searchable."""
        start = time.perf_counter()
        flying: deque[_Flight] = deque()
        with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="insert") as pool:
            try:
                for batch in self._batches():
                    flying.append(_Flight(batch, pool.submit(self._embed_and_store, batch)))
                    if len(flying) == IN_FLIGHT:
                        self._land(flying)
                while flying:
                    self._land(flying)
            except KeyboardInterrupt:  # what is in flight is finished and counted; nothing is half-written
                self._summary.interrupted = True
                while flying:
                    self._land(flying)
            finally:
                self._rejects.close()
        self._store.optimize()
        return self._finish(time.perf_counter() - start)

    def _batches(self) -> Iterator[list[Pending]]:
        """What has to be embedded, in batches of the model's size."""
        waiting: list[Pending] = []
        for chunk in self._source.chunks(COMPARE_ROWS):
            start = time.perf_counter()
            comparison = self._comparer.compare(chunk)
            if self._profile:
                self._profile.add("compare with the collection", time.perf_counter() - start)
            for row, reason in comparison.rejected:
                self._reject(row, reason)
            self._summary.unchanged += comparison.unchanged
            self._report()
            waiting += comparison.pending
            while len(waiting) >= self._batch_size:
                yield waiting[: self._batch_size]
                del waiting[: self._batch_size]
        if waiting:
            yield waiting

    def _embed_and_store(self, batch: list[Pending]) -> list[str]:
        """Runs the pipeline on one batch; returns for each row why it was left out, '' where it was stored."""
        entities, paths = [item.entity for item in batch], [item.row.path for item in batch]
        reasons, written = run(self._pipeline, entities, paths, profile=self._profile)
        unusable = "the model gives no finite embedding for it"
        return [reason or ("" if stored else unusable) for reason, stored in zip(reasons, written, strict=True)]

    def _land(self, flying: deque[_Flight]) -> None:
        """Counts the oldest batch, so that counts and reject list keep the source's order."""
        reasons = flying[0].future.result()
        for item, reason in zip(flying.popleft().batch, reasons, strict=True):
            if reason:
                self._reject(item.row, reason)
            elif item.is_new:
                self._summary.inserted += 1
            else:
                self._summary.updated += 1
        self._rejects.flush()
        self._report()

    def _reject(self, row: Row, reason: str) -> None:
        self._summary.rejected += 1
        self._rejects.add(row, reason)

    def _report(self) -> None:
        summary = self._summary
        summary.rows = summary.inserted + summary.updated + summary.unchanged + summary.rejected
        self._on_progress(summary, self._source.total)

    def _finish(self, seconds: float) -> Summary:
        summary = self._summary
        summary.seconds = round(seconds, 3)
        summary.images_per_second = round((summary.inserted + summary.updated) / seconds, 1)
        summary.rejects_file = self._rejects.written_to
        if self._profile:
            summary.step_seconds = {step: round(value, 3) for step, value in self._profile.seconds.items()}
        return summary


class _Flight(NamedTuple):
    batch: list[Pending]
    future: Future[list[str]]


def _prepare_collection(store: Store, model: ClipModel, source: Source) -> None:
    """Makes the collection, or checks that this model and these columns belong into it."""
    if not store.exists():
        store.create(model.spec.dim, source.fields)
        store.load()
        return
    made_by = store.model()
    if made_by not in ("", model.tag) or store.dim() != model.spec.dim:
        raise ModelMismatch(
            f"collection '{store.collection}' was made by {made_by or 'another model'}, this is {model.tag}: "
            "use that model (--model), another collection (--collection), or drop this one"
        )
    source.fields = reconcile(source.fields, store.fields())
