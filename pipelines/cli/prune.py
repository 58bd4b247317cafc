"""`image-search prune`: remove the rows whose files are gone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import click

from ..errors import EXIT_REJECTED, InputError, counted
from ..settings import Settings, option
from .parser import Output
from .progress import exit_on_ctrl_c


@dataclass(frozen=True)
class PruneOptions:
    """What to do with rows whose files are gone."""

    dry_run: bool = option(False, "List them as CSV (id,path,source), and remove nothing.")
    yes: bool = option(False, "Do not ask, and remove them even if they are most of the rows.", "--yes", "-y")


def prune(options: PruneOptions, settings: Settings, output: Output) -> int:
    """Remove the rows whose files are gone, of whatever source.

    Rows whose files cannot be seen now stay: on a disk that is not mounted, in a folder that cannot be listed, at an
    address that does not answer. The removed rows are listed in a new file, pruned-DATE-TIME.csv.
    """
    from ..indexing.gone import GoneFiles
    from ..indexing.prune import prune_collection
    from ..milvus.collection import Collection
    from .output import print_pruned

    if not options.dry_run:
        refuse_to_ask("prune", options.yes)
    collection = Collection(settings.uri, settings.collection, settings.token)
    question = (lambda gone, total: False) if options.dry_run else confirm(f"'{settings.collection}'", options.yes)
    with exit_on_ctrl_c():
        pruned = prune_collection(collection, GoneFiles(collection, settings.allow_private_urls), question)
        if pruned.removed:
            collection.flush()
    print_pruned(pruned, options.dry_run, as_json=output.json)
    return EXIT_REJECTED if pruned.is_partial else 0


def refuse_to_ask(command: str, yes: bool) -> None:
    """Raise InputError if the command has to ask but stdin is not a terminal."""
    if not yes and not sys.stdin.isatty():
        raise InputError(f"{command} asks before it removes anything, and stdin is not a terminal: add --yes")


def confirm(name: str, yes: bool) -> Callable[[int, int], bool]:
    """Return the question that pruning asks. Without `yes` the answer is no if most rows are gone: a likely mistake.

    Args:
        name: of the source or the collection.
    """

    def ask(gone: int, total: int) -> bool:
        print(f"no file or CSV line any more: {gone:,} of {counted(total, 'row')} of {name}", file=sys.stderr)
        if yes:
            return True
        if gone * 2 > total:
            print("nothing was removed, because that is more than half: add --yes if it is meant", file=sys.stderr)
            return False
        return click.confirm("Remove them from the collection?", err=True)

    return ask
