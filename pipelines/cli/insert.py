"""`image-search insert`: index a CSV or a folder."""

from __future__ import annotations

from contextlib import closing
from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, Any

from ..errors import EXIT_INTERRUPTED, EXIT_REJECTED, InputError
from ..settings import Settings, option
from .parser import Output
from .progress import ProgressBar, exit_on_ctrl_c
from .prune import confirm, refuse_to_ask

if TYPE_CHECKING:
    from ..indexing.summary import Summary


@dataclass(frozen=True)
class InsertOptions:
    """What to index, and how."""

    source: str = option(MISSING, "", "SOURCE")
    limit: int = option(0, "Index only the first rows, at most this many; 0 takes all.", at_least=0)
    shard: str = option("", "Index one part of the rows, as 3/16: stable across machines and runs, for many machines.")
    path_column: str = option("", "Column that holds the paths. [default: path, else a usual name such as file]")
    types: tuple[str, ...] = option(
        (), "COLUMN=TYPE, may be repeated: int, float, bool, text, date, or date:dmy, date:mdy, date:ymd by its order."
    )
    exclude: tuple[str, ...] = option(
        (), "Leave this out of a folder, as in .gitignore: '*.png', raw/; may be repeated."
    )
    include_hidden: bool = option(False, "Also take hidden files, thumbnails and bins in a folder.")
    ids: str = option(
        "given", "given takes the column id, from-path derives the ids from the paths, as without that column."
    )
    replace: bool = option(False, "Let the ids of this source replace other images with the same ids.")
    metadata: bool = option(
        False, "Add to a collection that exists what the files tell (taken, camera, …), and read them; embeds nothing."
    )
    no_metadata: bool = option(False, "Read nothing but the image from the files.")
    columns: str = option("", "Of what the files tell take only these columns: width,taken,camera. [default: all]")
    rejects: str = option("", "CSV (id,path,reason,source) for images that cannot be used. [default: rejected.csv]")
    to: str = option("", "Write rows and embeddings as files into this folder, not into Milvus: see import.")
    checksum: bool = option(
        False, "Compare files by content, not by time and size; reads every file, and embeds images at addresses again."
    )
    reembed: bool = option(False, "If another model made the collection: embed all of it again with this one.")
    prune: bool = option(False, "Afterwards remove rows of this source whose file or CSV line is gone; asks first.")
    dry_run: bool = option(False, "With --prune: only list the rows that would be removed; nothing is indexed.")
    yes: bool = option(False, "Remove what --prune finds without asking.", "--yes", "-y")
    index: str = option("", "Vector index: auto, flat, hnsw, ivf_flat, … [default: auto for a new collection]")
    metric: str = option("", "cosine, ip or l2. [default: cosine for a new collection]")
    index_param: tuple[str, ...] = option((), "name=value, may be repeated: M=32, efConstruction=400, nlist=1024.")
    runner: str = option("", "ray spreads the run over a Ray cluster, in shards; needs pip install ray.")
    shards: int = option(8, "With --runner ray: the number of shards, a few for each node.", at_least=1)
    ray_address: str = option("", "With --runner ray: the cluster's address. [default: a cluster on this machine]")
    cpus_per_shard: int = option(1, "With --runner ray: cores, and threads, of each shard.", at_least=1)
    profile: bool = option(False, "Print the seconds that each step took.")


def insert(options: InsertOptions, settings: Settings, output: Output) -> int:
    """Index images; later runs embed only new and changed ones.

    SOURCE is a CSV with the columns id,path,label (only path is required) or a folder; either may be an address.

    \b
    Examples:
      image-search insert photos/ --model builtin
      image-search insert s3://bucket/photos --uri http://milvus:19530 \\
          --shard 3/16
    """
    from ..fetch.presence import is_unlistable
    from .output import print_summary

    if options.metadata and options.no_metadata:
        raise InputError("--metadata reads what the files tell, and --no-metadata does not: give one of them")
    if options.dry_run:
        return _list_prunable(options, settings, output)
    if options.prune:
        refuse_to_ask("--prune", options.yes)
    with exit_on_ctrl_c(), closing(ProgressBar(hidden=output.json)) as bar:
        summary = _run(options, settings, bar)
    print_summary(summary, settings, output.json, options.to)
    if summary.interrupted:
        return EXIT_INTERRUPTED
    return EXIT_REJECTED if summary.rejected or summary.unlisted or any(map(is_unlistable, summary.kept)) else 0


def _run(options: InsertOptions, settings: Settings, bar: ProgressBar) -> Summary:
    from ..indexing.ray_runner import Cluster, run_on_ray
    from ..indexing.run import run_insert
    from ..milvus.index import choose_index

    common: dict[str, Any] = {
        name: getattr(options, name)
        for name in (
            "rejects",
            "checksum",
            "path_column",
            "types",
            "exclude",
            "include_hidden",
            "ids",
            "replace",
            "to",
            "columns",
        )
    }
    common["metadata"] = True if options.metadata else False if options.no_metadata else None
    common["index"] = choose_index(settings.uri, options.index, options.metric, options.index_param)
    if options.runner:
        _check_runner(options)
        cluster = Cluster(options.shards, options.ray_address, options.cpus_per_shard)
        return run_on_ray(options.source, settings, cluster, on_progress=bar.show_insert, **common)
    return run_insert(
        options.source,
        settings,
        limit=options.limit,
        shard=options.shard,
        profile=options.profile,
        reembed=options.reembed,
        prune=confirm(options.source, options.yes) if options.prune else None,
        on_progress=bar.show_insert,
        on_copied=lambda done, total: bar.show(done, total, "copying the collection for new columns"),
        **common,
    )


def _check_runner(options: InsertOptions) -> None:
    if options.runner != "ray":
        raise InputError(f"there is no runner '{options.runner}'; there is: ray")
    given = [name for name in ("limit", "shard", "profile", "reembed", "prune") if getattr(options, name)]
    if given:
        raise InputError(f"--{given[0]} does not go with --runner ray: run it without")


def _list_prunable(options: InsertOptions, settings: Settings, output: Output) -> int:
    from ..indexing.prunable import find_prunable
    from .output import print_pruned

    if not options.prune or options.limit or options.shard or options.reembed:
        raise InputError("--dry-run lists what --prune would remove: give it with --prune, for the whole source")
    pruned = find_prunable(
        options.source, settings, path_column=options.path_column, types=options.types, exclude=options.exclude,
        include_hidden=options.include_hidden,
    )  # fmt: skip
    print_pruned(pruned, dry_run=True, as_json=output.json)
    return EXIT_REJECTED if pruned.is_partial else 0
