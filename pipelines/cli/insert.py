"""`image-search insert`: index a CSV or a folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import MISSING, dataclass

import click

from ..errors import EXIT_INTERRUPTED, EXIT_REJECTED, InputError
from ..settings import Settings, option
from .parser import Output
from .progress import ProgressBar, exit_on_ctrl_c


@dataclass(frozen=True)
class InsertOptions:
    """What to index, and how."""

    source: str = option(MISSING, "", "SOURCE")
    limit: int = option(0, "Index only the first rows, at most this many; 0 takes all.", at_least=0)
    shard: str = option("", "Index one part of the rows, as 3/16: stable across machines and runs, for many machines.")
    path_column: str = option("", "Column that holds the paths. [default: path, else a usual name such as file]")
    exclude: tuple[str, ...] = option(
        (), "Leave this out of a folder, as in .gitignore: '*.png', raw/; may be repeated."
    )
    include_hidden: bool = option(False, "Also take hidden files, thumbnails and bins in a folder.")
    rejects: str = option("", "CSV (id,path,reason,source) for images that cannot be used. [default: rejected.csv]")
    checksum: bool = option(False, "Compare the content of files instead of time and size; reads every file.")
    reembed: bool = option(False, "If another model made the collection: embed all of it again with this one.")
    prune: bool = option(False, "Afterwards remove rows of this source whose file or CSV line is gone; asks first.")
    yes: bool = option(False, "Remove what --prune finds without asking.", "--yes", "-y")
    index: str = option("", "Vector index: auto, flat, hnsw, ivf_flat, … [default: auto for a new collection]")
    metric: str = option("", "cosine, ip or l2. [default: cosine for a new collection]")
    index_param: tuple[str, ...] = option((), "name=value, may be repeated: M=32, efConstruction=400, nlist=1024.")
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
    from ..indexing.run import run_insert
    from ..milvus.index import choose_index
    from .output import print_summary

    if options.prune and not options.yes and not sys.stdin.isatty():
        raise InputError("--prune asks before it removes anything, and stdin is not a terminal: add --yes")
    with exit_on_ctrl_c(), closing(ProgressBar(hidden=output.json)) as bar:
        summary = run_insert(
            options.source,
            settings,
            limit=options.limit,
            shard=options.shard,
            rejects=options.rejects,
            profile=options.profile,
            checksum=options.checksum,
            reembed=options.reembed,
            prune=_confirm(options.source, options.yes) if options.prune else None,
            index=choose_index(settings.uri, options.index, options.metric, options.index_param),
            path_column=options.path_column,
            exclude=options.exclude,
            include_hidden=options.include_hidden,
            on_progress=bar.show_insert,
            on_copied=lambda done, total: bar.show(done, total, "copying the collection for new columns"),
        )
    print_summary(summary, settings, as_json=output.json)
    if summary.interrupted:
        return EXIT_INTERRUPTED
    return EXIT_REJECTED if summary.rejected or summary.unlisted else 0


def _confirm(source: str, yes: bool) -> Callable[[int, int], bool]:
    """Return the question that `--prune` asks; a source that lost most of its rows is more likely a mistake."""

    def confirm(gone: int, total: int) -> bool:
        print(f"{gone:,} of {total:,} rows of {source} have no file or CSV line any more", file=sys.stderr)
        if yes:
            return True
        if gone * 2 > total:
            print("nothing was removed, because that is more than half: add --yes if it is meant", file=sys.stderr)
            return False
        return click.confirm("Remove them from the collection?", err=True)

    return confirm
