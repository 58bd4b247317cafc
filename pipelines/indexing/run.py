"""The insert pipeline, and the run that feeds it from a source and leaves out what is already there."""

from __future__ import annotations

import os

from ..declarations import build_insert
from ..errors import InputError, ModelMismatch
from ..fields import Field
from ..milvus.collection import Collection
from ..milvus.index import Index
from ..milvus.schema import reconcile
from ..models.clip import ClipModel, model_of
from ..models.model_id import is_compatible, is_same_model, resolve_model
from ..settings import Settings
from ..sources import open_source
from ..sources.source import WHOLE, Shard, Source
from .feed import Feed
from .prune import Confirm, prune_gone, source_name
from .reembed import CollectionSource, finish_swap, replacement_of, swap
from .rejects import DEFAULT_FILE, RejectFile
from .summary import Progress, Summary
from .warm_up import warm_up

# Batches inside the pipeline at once: one decoding, one in the model, one on its way to Milvus. This, and not the
# length of the source, bounds the memory; Towhee's own queues hold 1,000 rows whatever their size.
IN_FLIGHT = 3


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
        rejects: the CSV (`id,path,reason`) for images that could not be used; by default `rejected.csv`,
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
    collection = Collection(settings.uri, settings.collection, settings.token)
    finish_swap(collection)
    stored_model_id = collection.model() if collection.exists() else ""
    settings = resolve_model(settings, stored_model_id)
    model = model_of(settings)
    model_id = (
        stored_model_id if is_same_model(stored_model_id, model.model_id) else model.model_id
    )  # a model folder may have been moved
    batch_size = settings.batch_size or model.default_batch_size
    summary = Summary(os.fspath(source), settings.collection, model_id)
    summary.runtime = f"{model.description}, batch {batch_size}"
    replaces = collection if reembed and stored_model_id not in ("", model_id) else None
    if replaces is not None:
        collection = replacement_of(collection, model_id)
    pipeline = build_insert(model, collection, settings)  # imports Towhee, which has to be before `warm_up`
    _prepare_collection(collection, model, rows, replaces or collection, index)
    # Shards may share a folder, and each writes a list of its own.
    default_list = DEFAULT_FILE if part == WHOLE else f"rejected-{part.number}-of-{part.of}.csv"
    feed = Feed(
        collection, pipeline, batch_size, IN_FLIGHT,
        summary, RejectFile(rejects, default_list), profile, on_progress,
    )  # fmt: skip
    with feed:
        comparer = feed.take(rows, source_name(source), checksum)
        if replaces is not None:
            feed.take(CollectionSource(replaces, collection, feed.rejected), "", checksum=False)
    if not summary.interrupted:
        if replaces is not None:
            swap(replaces, collection)
        if prune is not None:
            summary.removed = prune_gone(collection, source_name(source), comparer.present, prune)
        if summary.removed or summary.rows > summary.unchanged + summary.rejected:
            collection.flush()
        collection.optimize(index)
    feed.finish()
    return summary


def _prepare_collection(
    collection: Collection, model: ClipModel, source: Source, like: Collection, index: Index | None
) -> None:
    """Makes the collection, with the columns of `like` if that exists, or checks that it takes these rows."""
    if not like.exists():
        _create_collection(collection, model, source.fields, index)
        return
    like.refuse_older_program()
    source.fields = reconcile(source.fields, like.fields())
    if not collection.exists():
        _create_collection(collection, model, like.fields(), index)
        return
    stored_model_id = collection.model()
    if not is_compatible(stored_model_id, model.model_id) or collection.dim() != model.spec.dim:
        raise ModelMismatch(
            f"collection '{collection.name}' was made by {stored_model_id or 'another model'}, "
            f"this is {model.model_id}: "
            "use that model (--model), another collection (--collection), or embed everything again (--reembed)"
        )


def _create_collection(
    collection: Collection, model: ClipModel, fields: tuple[Field, ...], index: Index | None
) -> None:
    """Makes it while the model loads: every image will be new."""
    warm_up(model)
    collection.create(model.spec.dim, fields, index)
