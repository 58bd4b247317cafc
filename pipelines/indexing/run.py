"""The insert run: from a source to a collection, without repeating what is already done."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..declarations import build_insert, build_metadata
from ..engine import Profile
from ..errors import InputError, StoreFull
from ..fields import Field
from ..images.metadata import MODIFIED
from ..milvus import connection
from ..milvus.collection import Collection
from ..milvus.index import Index, check_index, is_server
from ..settings import Settings
from ..sources import open_source
from ..sources.column_types import parse_types
from ..sources.source import WHOLE, Shard, Source
from ..threads import resolve_threads
from .calibration import notes_on_int8, sample_images
from .clash import refuse_clash, refuse_lost_id
from .exchange import REEMBEDDED, exchange
from .execute import Executor
from .file_columns import FileColumns
from .gone import GoneFiles
from .plan import Planner
from .prune import Confirm, prune_source, source_name
from .rebuild import Copied
from .reembed import CollectionSource
from .reject_file import RejectFile
from .summary import Progress, Summary, Tally
from .takeover import finish_killed
from .target import Target, adopt_columns, open_folder, open_target, prepare_collection

if TYPE_CHECKING:
    from pandas import DataFrame

IDS = GIVEN, FROM_PATH = "given", "from-path"
# Stages of a run: everything, only the preparation, or only the rows. Shards share the preparation and the end.
WHOLE_RUN, PREPARE, FILL = "whole", "prepare", "fill"


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
    rest_seconds: float = 0.0,
    metadata: bool | None = None,
    columns: str = "",
    to: str = "",
    stage: str = WHOLE_RUN,
    on_progress: Progress | None = None,
    on_copied: Copied | None = None,
) -> Summary:
    """Index a CSV or a folder, local or at a URL. A second run touches only what is new or changed.

    After Ctrl-C the run stores the batches in flight and returns a summary that is `interrupted`; a second Ctrl-C is
    raised. A killed or interrupted run continues when it is started again.

    Args:
        limit: take at most this many rows, the first ones; 0 takes all.
        shard: `3/16` takes the third of sixteen parts of the rows, by their ids; '' takes all.
        rejects: the CSV (`id,path,reason,source`) for images that could not be used; by default `rejected.csv`. It is
            written only if there are any. Rows that can be used now are removed from an earlier list.
        checksum: compare the content of files, not their time and size.
        reembed: if another model made the collection, embed all of it again with this one. The old collection can be
            searched until the new one is complete.
        prune: afterwards, if this function returns True, take this source from the rows whose file or CSV line is gone,
            and remove those that no other source lists. It gets their number and that of all rows of the source.
        index: the vector index to build at the end (`milvus.index.choose_index`); None lets the program choose.
        path_column: the column of paths; '' looks for `path`, then for usual names.
        types: `COLUMN=TYPE[:FORM]` for columns whose type should not follow from their cells, as `taken=date:dmy`.
        exclude: gitignore patterns for files and folders to leave out of a folder.
        include_hidden: also take hidden files, thumbnails and recycle bins in a folder.
        ids: `given` takes the ids from a table's column `id`; `from-path` derives them from the paths.
        replace: let rows of this source replace other images to which other sources gave the same ids.
        rest_seconds: skip files that changed within this many seconds: another program may still be writing them.
        metadata: True adds metadata of this source's files, such as `taken`, to an existing collection, and reads the
            files again. False reads no metadata. None reads all for a new collection, and for an existing one only the
            columns that it has.
        columns: which metadata columns to read, as `width,taken`; '' takes all.
        to: a folder to write the rows into as Parquet files (`VectorFolder`), instead of into Milvus.
        stage: WHOLE_RUN; PREPARE stops before the first row; FILL leaves it to the caller to flush and index.
        on_progress: gets the summary so far and the total number of rows.
        on_copied: gets the numbers of copied and of all rows, while a collection is copied to take new columns.

    Raises:
        InputError: the source or the options cannot be used, and nothing was done; or `prune` would remove everything.
        ModelMismatch: another model made the collection.
        ModelError, StoreError: the model or Milvus cannot be reached.
    """
    part, name = Shard.parse(shard), source_name(source)
    _check_options(name, limit, part, ids, prune, reembed, bool(to), index)
    wanted = FileColumns.parse(metadata, columns)
    rows = open_source(
        source, limit, part, settings.allow_private_urls,
        path_column=path_column, types=parse_types(types), exclude=exclude, include_hidden=include_hidden,
        ids_from_path=ids == FROM_PATH,
    )  # fmt: skip
    reject_file = RejectFile(rejects, name, part)
    target = open_folder(settings, to, part) if to else open_target(settings, reembed)
    finish_killed({target.collection, target.known})
    if index is not None:
        check_index(settings.uri, index, target.model.spec.dim)
    gone = GoneFiles(target.known, settings.allow_private_urls)
    if not replace and target.known.exists():
        target.known.refuse_older_program()
        refuse_clash(target.known, rows, name, gone)
    batch_size = settings.batch_size or target.model.default_batch_size
    summary = Summary(str(source) if name else "DataFrame", to or settings.collection, target.model_id)
    summary.runtime = f"{target.model.description}, batch {batch_size}, threads {resolve_threads(settings.threads)}"
    stored = target.collection.precisions(until=target.model.runtime.precision) if target.collection.exists() else []
    target.model.calibrate(lambda: sample_images(rows, target.model.spec, settings))
    refuse_lost_id(target.collection, rows)
    wanted_columns = adopt_columns(rows, name, target.known, wanted)
    reads = wanted.to_read(wanted_columns)
    # Before `prepare_collection`, because this imports all of Towhee: see `warm_up`.
    pipeline = build_insert(target.model, target.collection, settings, _of_bytes(reads))
    reading = build_metadata(settings, _of_bytes(reads))
    on_copied = on_copied or (lambda done, total: None)
    summary.copied = prepare_collection(target, wanted_columns, rows.findings.types, index, part, on_copied)
    steps: Profile | None = [] if profile else None
    planner = Planner(
        target.collection, target.model_id, name, checksum, steps, settings.threads, target.model.runtime.precision,
        known=target.known, gone=gone, fills=rows.fills, reads=reads, reads_again=bool(metadata),
        rest_seconds=rest_seconds,
    )  # fmt: skip
    tally = Tally(summary, reject_file, on_progress)
    if stage == PREPARE:
        tally.fold([[]], rows.total)
        return summary
    _fill(target, rows, planner, Executor(target.collection, pipeline, batch_size, steps, reading), tally, reads)
    tally.add_findings(rows.findings)
    if summary.inserted or summary.updated:
        summary.notes += notes_on_int8(stored, target.model.runtime.precision)
    reject_file.finish(is_whole=not (summary.interrupted or limit or part != WHOLE))
    if not summary.interrupted:
        if target.replaces is not None:
            exchange(target.replaces, target.collection, REEMBEDDED)
        summary.unfinished = len(planner.unfinished)
        if prune is not None:
            gone.keep_moved(step.entity for step in planner.unfinished)
            target.collection.read_as_of_now()  # another source may meanwhile list what this one no longer lists
            tally.add_pruned(prune_source(target.collection, name, planner.listing, rows.is_folder, gone, prune))
        if stage == WHOLE_RUN or to:
            finish_run(target.collection, summary, index, is_shard=part != WHOLE)
    tally.close(steps)
    return summary


def _check_options(
    name: str,
    limit: int,
    part: Shard,
    ids: str,
    prune: Confirm | None,
    reembed: bool,
    to_files: bool,
    index: Index | None,
) -> None:
    """Raise InputError for options that do not go together."""
    if (limit or part != WHOLE) and (prune or reembed):
        option = "--limit" if limit else "--shard"
        raise InputError(f"{option} looks at a part of the source only: --prune and --reembed need all of it")
    if to_files and (prune or reembed or index):
        raise InputError("--prune, --reembed and an index are for a collection in Milvus: leave them out with --to")
    if ids not in IDS:
        raise InputError(f"--ids is {' or '.join(IDS)}, not '{ids}'")
    if prune and not name:
        raise InputError("a DataFrame has no name by which its rows are known: --prune needs a file or a folder")


def finish_run(collection: Collection, summary: Summary, index: Index | None, is_shard: bool = False) -> None:
    """Seal what the run wrote, and give the collection the index that fits its size.

    A shard leaves sealing, which takes 3 s, to the server, and does not wait for the indexes of sealed rows, because
    other shards are still writing. Its rows are durable without that.
    """
    has_written = bool(summary.removed) or summary.rows > summary.unchanged + summary.rejected
    is_left_to_server = is_shard and is_server(collection.uri)
    if has_written and not is_left_to_server:
        collection.flush()
    collection.optimize(index, wait=not is_left_to_server)


def _of_bytes(columns: Sequence[Field]) -> tuple[Field, ...]:
    """The columns that are read from a file's bytes."""
    return tuple(field for field in columns if field.name != MODIFIED)


def _fill(
    target: Target, source: Source, planner: Planner, executor: Executor, tally: Tally, reads: Sequence[Field]
) -> None:
    """Carry out the run up to the end of the source, or up to Ctrl-C."""
    try:
        tally.fold(executor.execute(planner.plans(source, executor.capacity)), source.total)
        if target.replaces is not None:
            done = tally.rejected_ids | planner.replaced
            others = CollectionSource(target.replaces, target.collection, done, source.findings.types)
            precision = target.model.runtime.precision
            of_others = Planner(
                target.collection, target.model_id, precision=precision, known=target.known, reads=reads
            )
            tally.fold(executor.execute(of_others.plans(others, executor.capacity)), others.total)
    except KeyboardInterrupt:
        tally.interrupt()
        tally.fold(executor.finish())
        target.collection.flush()
    except StoreFull:
        executor.close(wait=True)
        # Once it is reopened, Milvus Lite shows what its failed write hid.
        connection.close(target.collection.uri)
        raise
    finally:
        executor.close()
