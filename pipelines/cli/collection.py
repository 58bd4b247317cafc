"""`python -m pipelines info` and `drop`: a collection as a whole."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import DEFAULTS, Collection, Json, Token, Uri, option


def info(
    uri: Uri = DEFAULTS.uri,
    token: Token = DEFAULTS.token,
    collection: Collection = DEFAULTS.collection,
    json: Json = False,
) -> None:
    """Show what a collection holds: rows, model, dimension, index, fields."""
    from ..milvus.collection import Collection
    from .output import print_info

    print_info(Collection(uri, collection, token).info(), as_json=json)


def drop(
    uri: Uri = DEFAULTS.uri,
    token: Token = DEFAULTS.token,
    collection: Collection = DEFAULTS.collection,
    yes: Annotated[bool, option("yes", "Do not ask.", "-y")] = False,
) -> None:
    """Remove a collection and everything in it. The images themselves are not touched."""
    from ..milvus.collection import Collection

    stored = Collection(uri, collection, token)
    rows = stored.info().rows
    if not yes:
        typer.confirm(f"Remove collection '{collection}' with {rows:,} rows from {uri}?", abort=True)
    stored.drop()
    print(f"removed '{collection}' ({rows:,} rows)")
