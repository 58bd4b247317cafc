"""`image-search info`, `copy` and `drop`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING

import click

from ..errors import counted
from ..settings import Settings, option
from .parser import Output
from .progress import ProgressBar, exit_on_ctrl_c

if TYPE_CHECKING:
    from ..milvus.collection import Collection

EXIT_NOT_VERIFIED = 3  # of a copy that was not verified


@dataclass(frozen=True)
class CopyOptions:
    """The two ends of the copy."""

    source: str = option(MISSING, "Milvus to copy from: a file or an address.", "--from", secret=True)
    target: str = option(MISSING, "Milvus to copy to: a file or an address.", "--to", secret=True)
    to_collection: str = option("", "Name of the copy. [default: the same name]")
    from_token: str = option("", "Token or user:password of the Milvus to copy from.", secret=True)
    to_token: str = option("", "Token or user:password of the Milvus to copy to.", secret=True)


@dataclass(frozen=True)
class DropOptions:
    """How to remove a collection."""

    yes: bool = option(False, "Do not ask.", "--yes", "-y")


def info(settings: Settings, output: Output) -> None:
    """Show what a collection holds: rows, model, index, fields."""
    from ..milvus.collection import Collection
    from .output import print_info

    collection = Collection(settings.uri, settings.collection, settings.token)
    print_info(collection.info(), collection.precisions(), settings, as_json=output.json)


def drop(settings: Settings, options: DropOptions) -> None:
    """Remove a collection; the image files stay as they are."""
    from ..milvus.collection import Collection

    collection = Collection(settings.uri, settings.collection, settings.token)
    rows = counted(collection.info().rows, "row")
    if not options.yes:
        question = f"Remove collection '{settings.collection}' with {rows} from {settings.uri}?"
        click.confirm(question, abort=True, err=True)
    collection.drop()
    print(f"removed '{settings.collection}' ({rows})")


def copy(options: CopyOptions, settings: Settings, output: Output) -> int:
    """Copy a collection from a file to a server, or back.

    Run the same command again to continue an interrupted copy.

    Example: image-search copy --from ./search.db --to http://localhost:19530
    """
    from ..milvus.collection import Collection

    source = Collection(options.source, settings.collection, options.from_token)
    target = Collection(options.target, options.to_collection or settings.collection, options.to_token)
    return copy_rows(source, target, output)


def copy_rows(source: Collection, target: Collection, output: Output) -> int:
    """Copy all rows with a progress bar, print the summary, and return the exit status."""
    from ..milvus.copy import copy_collection
    from .output import print_copy

    with exit_on_ctrl_c(), closing(ProgressBar(hidden=output.json, unit="rows")) as bar:
        summary = copy_collection(source, target, lambda done: bar.show(done.rows, done.rows_in_source))
    print_copy(summary, as_json=output.json)
    return 0 if summary.verified else EXIT_NOT_VERIFIED
