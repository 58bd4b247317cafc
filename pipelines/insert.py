"""The insert pipeline, and the run that feeds it from a source and leaves out what is already there."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

from .errors import InputError, ModelMismatch
from .indexing.feed import Feed
from .indexing.prune import Confirm, prune_gone, source_name
from .indexing.reembed import StoredRows, finish_swap, replacement_of, swap
from .indexing.rejects import DEFAULT_FILE, RejectFile
from .indexing.summary import Progress, Summary
from .indexing.warm_up import warm_up
from .milvus.index import Index
from .milvus.schema import Field, reconcile
from .milvus.store import Store
from .models.clip import ClipModel, model_of
from .models.registry import get_model
from .models.tags import same_model, takes
from .settings import Settings
from .sources.shard import WHOLE, Shard
from .sources.source import Source, open_source

if TYPE_CHECKING:
    from towhee.runtime.runtime_pipeline import RuntimePipeline

# Batches inside the pipeline at once: one decoding, one in the model, one on its way to Milvus. This, and not the
# length of the source, bounds the memory; Towhee's own queues hold 1,000 rows whatever their size.
IN_FLIGHT = 3


def build_insert_pipeline(settings: Settings) -> RuntimePipeline:
    """Declares the insert pipeline. One call takes one batch and returns why each picture was left out."""
    from towhee import ops, pipe

    settings = settings.with_model_of("")
    size = get_model(settings.model).image_size
    return (
        pipe.input("rows", "paths")
        .map("paths", ("pictures", "reasons"), ops.image_decode.cv2(
            "rgb", size=size, reasons=True, **settings.decode_options))
        .map("pictures", "embeddings", ops.image_text_embedding.clip(modality="image", **settings.model_options))
        .map("embeddings", "embeddings", ops.towhee.np_normalize())
        .map(("rows", "embeddings"), "written", ops.ann_insert.milvus_rows(**settings.milvus_options))
        .output("reasons", "written")
    )  # fmt: skip


def run_insert(
    source: str | os.PathLike[str],
    settings: Settings,
    *,
    limit: int = 0,
    shard: str = "",
    rejects: str = "",
    profile: bool = False,
    checksum: bool = False,
    reembed: bool = False,
    prune: Confirm | None = None,
    index: Index | None = None,
    on_progress: Progress | None = None,
) -> Summary:
    """Indexes a CSV or a folder, here or at an address. A second run touches only what is new or changed.

    Args:
        limit: only the first so many rows; 0 takes all.
        shard: `3/16` takes the third of sixteen parts of them, by the rows' ids; '' takes all.
        rejects: the CSV (`id,path,reason`) for pictures that could not be used; by default `rejected.csv`,
            written only when there are any.
        checksum: compare the content of files, not their time and size.
        reembed: where another model made the collection, embed all of it again by this one. The old collection
            can be searched until the new one is complete.
        prune: afterwards remove the rows of this source whose file or CSV line is gone, if this function, called
            with their number and the number of all rows of the source, returns True.
        index: the vector index to have afterwards (`milvus.index.choose_index`); None leaves it to the program.
        on_progress: called with the summary so far and the total number of rows.

    Raises:
        InputError: the source or the options are not usable, nothing was done; or `prune` would remove everything.
        ModelMismatch: the collection was made by another model.
        ModelError, StoreError: the model or Milvus cannot be reached.
    """
    part = Shard.parse(shard)
    if (limit or part != WHOLE) and (prune or reembed):
        option = "--limit" if limit else "--shard"
        raise InputError(f"{option} looks at a part of the source only: --prune and --reembed need all of it")
    rows = open_source(source, limit, part, settings.allow_private_urls)
    store = Store(settings.uri, settings.collection, settings.token)
    finish_swap(store)
    made_by = store.model() if store.exists() else ""
    settings = settings.with_model_of(made_by)
    model = model_of(settings)
    tag = made_by if same_model(made_by, model.tag) else model.tag  # a model folder may have been moved
    batch_size = settings.batch_size or model.default_batch_size
    summary = Summary(os.fspath(source), settings.collection, tag)
    summary.runtime = f"{model.description}, batch {batch_size}"
    replaces = store if reembed and made_by not in ("", tag) else None
    if replaces is not None:
        store = replacement_of(store, tag)
        settings = dataclasses.replace(settings, collection=store.collection)
    pipeline = build_insert_pipeline(settings)  # imports Towhee, which has to be before `warm_up`
    _prepare_collection(store, model, rows, replaces or store, index)
    # Shards may share a folder, and each writes a list of its own.
    default_list = DEFAULT_FILE if part == WHOLE else f"rejected-{part.number}-of-{part.of}.csv"
    feed = Feed(
        store, pipeline, batch_size, IN_FLIGHT,
        summary, RejectFile(rejects, default_list), profile, on_progress,
    )  # fmt: skip
    with feed:
        comparer = feed.take(rows, source_name(source), checksum)
        if replaces is not None:
            feed.take(StoredRows(replaces, store, feed.rejected), "", checksum=False)
    if not summary.interrupted:
        if replaces is not None:
            swap(replaces, store)
        if prune is not None:
            summary.removed = prune_gone(store, source_name(source), comparer.present, prune)
        if summary.removed or summary.rows > summary.unchanged + summary.rejected:
            store.flush()
        store.optimize(index)
    feed.finish()
    return summary


def _prepare_collection(store: Store, model: ClipModel, source: Source, like: Store, index: Index | None) -> None:
    """Makes the collection, with the columns of `like` if that exists, or checks that it takes these rows."""
    if not like.exists():
        _create_collection(store, model, source.fields, index)
        return
    like.refuse_older_program()
    source.fields = reconcile(source.fields, like.fields())
    if not store.exists():
        _create_collection(store, model, like.fields(), index)
        return
    made_by = store.model()
    if not takes(made_by, model.tag) or store.dim() != model.spec.dim:
        raise ModelMismatch(
            f"collection '{store.collection}' was made by {made_by or 'another model'}, this is {model.tag}: "
            "use that model (--model), another collection (--collection), or embed everything again (--reembed)"
        )


def _create_collection(store: Store, model: ClipModel, fields: tuple[Field, ...], index: Index | None) -> None:
    """Makes it while the model loads: every picture will be new."""
    warm_up(model)
    store.create(model.spec.dim, fields, index)
