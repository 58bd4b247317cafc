"""The insert run: from a source to a collection, leaving out what is already there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..declarations import build_insert
from ..engine import Profile, load_towhee
from ..errors import InputError, ModelMismatch, StoreFull
from ..fields import Field
from ..images.decode import decode
from ..milvus import connection, schema
from ..milvus.collection import Collection
from ..milvus.columns import adopt
from ..milvus.index import Index, check_index
from ..milvus.lite import is_lite, lite_path
from ..milvus.lite_mirror import refuse_read_only
from ..models.clip import ClipModel, model_of
from ..models.model_id import is_compatible, is_same_model, note_on_recipe, resolve_model
from ..settings import Settings
from ..sources import open_source
from ..sources.column_types import parse_types
from ..sources.source import WHOLE, Shard, Source
from ..threads import resolve_threads
from .clash import refuse_clash
from .exchange import REEMBEDDED, exchange, finish_exchange
from .execute import Executor
from .gone import GoneFiles
from .plan import PLAN_ROWS, Planner
from .prune import Confirm, Pruned, prune_source, source_name
from .rebuild import Copied, columns_for, rebuild
from .reembed import CollectionSource, replacement_of
from .reject_file import RejectFile
from .summary import Progress, Summary, Tally

if TYPE_CHECKING:
    from pandas import DataFrame

IDS = GIVEN, FROM_PATH = "given", "from-path"
_SMALL_IMAGE = b"P6 2 2 255\n" + bytes(12)  # a PPM of 2 × 2 black pixels


class Target(NamedTuple):
    """Where the rows go. `replaces` is the collection whose place `collection` takes at the end, for --reembed."""

    collection: Collection
    replaces: Collection | None
    model: ClipModel
    model_id: str

    @property
    def known(self) -> Collection:
        """The collection that knows the rows."""
        return self.replaces or self.collection


def run_insert(
    source: str | os.PathLike[str] | DataFrame,
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
    path_column: str = "",
    types: Iterable[str] = (),
    exclude: Sequence[str] = (),
    include_hidden: bool = False,
    ids: str = GIVEN,
    replace: bool = False,
    on_progress: Progress | None = None,
    on_copied: Copied | None = None,
) -> Summary:
    """Index a CSV or a folder, local or at an address. A second run touches only what is new or changed.

    After Ctrl-C the run stores the batches in flight and returns a summary that is `interrupted`; a second Ctrl-C is
    raised. A run that was killed or interrupted goes on when it is started again.

    Args:
        limit: only the first rows, at most this many; 0 takes all.
        shard: `3/16` takes the third of sixteen parts of the rows, by their ids; '' takes all.
        rejects: the CSV (`id,path,reason,source`) for images that could not be used; by default `rejected.csv`. It is
            written if there are any; rows that are mended are taken out of an earlier list.
        checksum: compare the content of files, not their time and size.
        reembed: if another model made the collection, embed all of it again with this one. The old collection can be
            searched until the new one is complete.
        prune: afterwards take this source from the rows whose file or CSV line is gone, if this function returns True,
            and remove those that no other source lists. It gets their number and that of all rows of the source.
        index: the vector index to have afterwards (`milvus.index.choose_index`); None leaves it to the program.
        path_column: the column of paths; '' looks for `path`, then for usual names.
        types: `COLUMN=TYPE[:FORM]` for columns whose type is not to be found from their cells, as `taken=date:dmy`.
        exclude: patterns with gitignore's rules for what to leave out of a folder.
        include_hidden: also take hidden files, thumbnails and bins of a folder.
        ids: `given` takes the ids of a table's column `id`, `from-path` derives them from the paths.
        replace: let ids of this source replace other images that other sources gave the same ids.
        on_progress: gets the summary so far and the total number of rows.
        on_copied: gets the numbers of copied and of all rows, while a collection is copied to take new columns.

    Raises:
        InputError: the source or the options are not usable, nothing was done; or `prune` would remove everything.
        ModelMismatch: another model made the collection.
        ModelError, StoreError: the model or Milvus cannot be reached.
    """
    part = Shard.parse(shard)
    if (limit or part != WHOLE) and (prune or reembed):
        option = "--limit" if limit else "--shard"
        raise InputError(f"{option} looks at a part of the source only: --prune and --reembed need all of it")
    if ids not in IDS:
        raise InputError(f"--ids is {' or '.join(IDS)}, not '{ids}'")
    name = source_name(source)
    if prune and not name:
        raise InputError("a DataFrame has no name by which its rows are known: --prune needs a file or a folder")
    rows = open_source(
        source, limit, part, settings.allow_private_urls,
        path_column=path_column, types=parse_types(types), exclude=exclude, include_hidden=include_hidden,
        ids_from_path=ids == FROM_PATH,
    )  # fmt: skip
    reject_file = RejectFile(rejects, name, part)
    target = _open_target(settings, reembed)
    if index is not None:
        check_index(settings.uri, index, target.model.spec.dim)
    gone = GoneFiles(target.known, settings.allow_private_urls)
    if not replace and target.known.exists():
        target.known.refuse_older_program()
        refuse_clash(target.known, rows, name, gone)
    batch_size = settings.batch_size or target.model.default_batch_size
    summary = Summary(str(source) if name else "DataFrame", settings.collection, target.model_id)
    summary.runtime = f"{target.model.description}, batch {batch_size}, threads {resolve_threads(settings.threads)}"
    pipeline = build_insert(target.model, target.collection, settings)
    summary.copied = _prepare_collection(target, rows, name, index, part, on_copied or (lambda done, total: None))
    steps: Profile | None = [] if profile else None
    planner = Planner(
        target.collection, target.model_id, name, checksum, steps, settings.threads, target.model.runtime.precision,
        known=target.known, gone=gone, fills=rows.fills,
    )  # fmt: skip
    tally = Tally(summary, reject_file, on_progress)
    _fill(target, rows, planner, Executor(target.collection, pipeline, batch_size, steps), tally)
    tally.add_findings(rows.findings)
    reject_file.finish(is_whole=not (summary.interrupted or limit or part != WHOLE))
    if not summary.interrupted:
        if target.replaces is not None:
            exchange(target.replaces, target.collection, REEMBEDDED)
        if prune is not None:
            tally.add_pruned(prune_source(target.collection, name, planner.listing, rows.is_folder, gone, prune))
        if summary.removed or summary.rows > summary.unchanged + summary.rejected:
            target.collection.flush()
        target.collection.optimize(index)
    tally.close(steps)
    return summary


def find_prunable(
    source: str | os.PathLike[str], settings: Settings, *,
    path_column: str = "", types: Iterable[str] = (), exclude: Sequence[str] = (), include_hidden: bool = False,
) -> Pruned:  # fmt: skip
    """Return what `run_insert` with `prune` would remove, without changing anything.

    Raises:
        InputError: as `run_insert`, and for a collection of version 0.1, which has to be copied first.
    """
    rows = open_source(
        source, allow_private=settings.allow_private_urls,
        path_column=path_column, types=parse_types(types), exclude=exclude, include_hidden=include_hidden,
    )  # fmt: skip
    target, name = _open_target(settings, reembed=False), source_name(source)
    target.collection.load()
    if target.collection.version() < schema.VERSION:
        raise InputError("a collection of version 0.1 has to be copied once: run this insert without --dry-run first")
    _adopt_columns(rows, name, target.collection)
    gone = GoneFiles(target.collection, settings.allow_private_urls)
    planner = Planner(target.collection, target.model_id, name, gone=gone, fills=rows.fills)
    for _ in planner.plans(rows, PLAN_ROWS):
        pass
    return prune_source(target.collection, name, planner.listing, rows.is_folder, gone, lambda gone, total: False)


def _open_target(settings: Settings, reembed: bool) -> Target:
    """Find the collection to fill, and load the model: the one of the settings, else the collection's own."""
    if is_lite(settings.uri):
        refuse_read_only(lite_path(settings.uri))
    collection = Collection(settings.uri, settings.collection, settings.token)
    finish_exchange(collection)
    stored_model_id = collection.model() if collection.exists() else ""
    model = model_of(resolve_model(settings, stored_model_id))
    # The folder of a trained model may have been moved since: its rows keep their model id.
    model_id = stored_model_id if is_same_model(stored_model_id, model.model_id) else model.model_id
    if reembed and stored_model_id not in ("", model_id):
        return Target(replacement_of(collection, model_id), collection, model, model_id)
    return Target(collection, None, model, model_id)


def _fill(target: Target, source: Source, planner: Planner, executor: Executor, tally: Tally) -> None:
    """Carry out the run up to the end of the source, or up to Ctrl-C."""
    try:
        tally.fold(executor.execute(planner.plans(source, executor.capacity)), source.total)
        if target.replaces is not None:
            done = tally.rejected_ids | planner.replaced
            others = CollectionSource(target.replaces, target.collection, done, source.findings.types)
            precision = target.model.runtime.precision
            of_others = Planner(target.collection, target.model_id, precision=precision, known=target.known)
            tally.fold(executor.execute(of_others.plans(others, executor.capacity)), others.total)
    except KeyboardInterrupt:
        tally.interrupt()
        tally.fold(executor.finish())
        target.collection.flush()
    except StoreFull:
        executor.close(wait=True)
        # Opened again, Milvus Lite shows what its failed write hid.
        connection.close(target.collection.uri)
        raise
    finally:
        executor.close()


def _prepare_collection(
    target: Target, source: Source, name: str, index: Index | None, part: Shard, on_copied: Copied
) -> int:
    """Create the collection, or check that it can store these rows and give it the columns that it lacks.

    Return the number of rows that were copied for that.
    """
    collection, model = target.collection, target.model
    columns = _adopt_columns(source, name, target.known)
    if collection.exists():
        _check_model(collection, model)
    else:
        warm_up(model)  # meanwhile; every image is new
        collection.create(model.spec.dim, columns, index)
    copied = 0
    for outdated in {collection, target.known}:
        if outdated.version() == schema.VERSION and outdated.fields() == columns:
            continue
        if part != WHOLE:
            raise InputError(
                f"collection '{collection.name}' has to be copied once to take these columns, and other shards may be "
                "writing: run this source without --shard first (with --limit 1 it is quick)"
            )
        copied += rebuild(outdated, columns, source.findings.types, on_copied)
    return copied


def _adopt_columns(source: Source, name: str, collection: Collection) -> tuple[Field, ...]:
    """Give the source's columns their types and keys in a collection; return those that the collection is to have."""
    if not collection.exists():
        columns = schema.as_stored(source.fields, collection.has_null)
    else:
        collection.refuse_older_program()
        columns = columns_for(collection, source, name)
    source.fields = adopt(source.fields, columns)
    return columns


def _check_model(collection: Collection, model: ClipModel) -> None:
    stored_model_id = collection.model()
    if not is_compatible(stored_model_id, model.model_id) or collection.dim() != model.spec.dim:
        raise ModelMismatch(
            f"collection '{collection.name}' was made by {stored_model_id or 'another model'}, "
            f"this is {model.model_id}{note_on_recipe(stored_model_id, model.model_id)}: "
            "use that model (--model), another collection (--collection), or embed everything again (--reembed)"
        )


def warm_up(model: ClipModel) -> None:
    """Load the libraries that decode and resize (PyTorch takes a second) and the image tower; return at once.

    An error here comes again with the first image, and is reported there.
    """
    # PyTorch's import restores the warning filters that it found, so Towhee, which sets some, has to come first.
    load_towhee()
    size = model.spec.image_size
    pool = ThreadPoolExecutor(2, thread_name_prefix="warm-up")
    pool.submit(decode, _SMALL_IMAGE, 1)
    pool.submit(model.embed_images, np.zeros((1, size, size, 3), np.uint8))
    pool.shutdown(wait=False)
