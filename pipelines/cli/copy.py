"""`python -m pipelines copy`."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import DEFAULTS, Collection, Json, ended_by_ctrl_c, option

EXIT_NOT_VERIFIED = 3


def copy(
    source: Annotated[
        str, typer.Option("--from", envvar="IMAGE_SEARCH_SOURCE", help="Milvus to copy from: a file or an address.")
    ],
    target: Annotated[
        str, typer.Option("--to", envvar="IMAGE_SEARCH_TARGET", help="Milvus to copy to: a file or an address.")
    ],
    collection: Collection = DEFAULTS.collection,
    to_collection: Annotated[
        str, option("to_collection", "Name of the collection there. [default: the same as here]")
    ] = "",
    from_token: Annotated[str, option("from_token", "Token or user:password of the Milvus to copy from.")] = "",
    to_token: Annotated[str, option("to_token", "Token or user:password of the Milvus to copy to.")] = "",
    json: Json = False,
) -> None:
    """Copy a collection to another Milvus, a file to a server or back. Run it again to go on where it stopped.

    Example:  python -m pipelines copy --from ./search.db --to http://localhost:19530
    """
    from ..milvus.collection import Collection
    from ..milvus.copy import copy_collection
    from .output import ProgressBar, print_copy

    here, there = Collection(source, collection, from_token), Collection(target, to_collection or collection, to_token)
    with ended_by_ctrl_c(), ProgressBar(hidden=json, unit="rows") as bar:
        summary = copy_collection(here, there, lambda done: bar.show(done.rows, done.rows_in_source))
    print_copy(summary, as_json=json)
    raise typer.Exit(0 if summary.verified else EXIT_NOT_VERIFIED)
