"""`image-search info`, `drop` and `models`: what there is."""

from __future__ import annotations

from dataclasses import dataclass

import click

from ..settings import Settings, option
from .parser import Output


@dataclass(frozen=True)
class DropOptions:
    """How to remove a collection."""

    yes: bool = option(False, "Do not ask.", "-y")


def info(settings: Settings, output: Output) -> None:
    """Show what a collection holds: rows, model, index, fields."""
    from ..milvus.collection import Collection
    from .output import print_info

    collection = Collection(settings.uri, settings.collection, settings.token)
    print_info(collection.info(), settings, as_json=output.json)


def drop(settings: Settings, options: DropOptions) -> None:
    """Remove a collection; the image files stay as they are."""
    from ..milvus.collection import Collection

    collection = Collection(settings.uri, settings.collection, settings.token)
    rows = collection.info().rows
    if not options.yes:
        question = f"Remove collection '{settings.collection}' with {rows:,} rows from {settings.uri}?"
        click.confirm(question, abort=True, err=True)
    collection.drop()
    print(f"removed '{settings.collection}' ({rows:,} rows)")


def models(output: Output) -> None:
    """List the models, and the weights that are already here."""
    from .output import print_models

    print_models(as_json=output.json)
