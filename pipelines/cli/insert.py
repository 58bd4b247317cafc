"""`python -m pipelines insert`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from ..errors import InputError
from ..settings import Settings
from .options import (
    DEFAULTS,
    EXIT_INTERRUPTED,
    EXIT_REJECTED,
    AllowPrivateUrls,
    Collection,
    Device,
    ExactPreprocess,
    Json,
    Model,
    Runtime,
    Token,
    Uri,
    Weights,
    ended_by_ctrl_c,
    not_negative,
    option,
)


def insert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A CSV with the columns id,path,label (only path is needed), or a folder; either may be an address.",
        ),
    ],
    uri: Uri = DEFAULTS.uri,
    token: Token = DEFAULTS.token,
    collection: Collection = DEFAULTS.collection,
    model: Model = DEFAULTS.model,
    weights: Weights = DEFAULTS.weights,
    device: Device = DEFAULTS.device,
    runtime: Runtime = DEFAULTS.runtime,
    batch_size: Annotated[int, option("batch_size", "Images per model call; 0 chooses by device.")] = 0,
    exact_preprocess: ExactPreprocess = DEFAULTS.exact_preprocess,
    limit: Annotated[int, option("limit", "Only the first so many rows; 0 takes all.")] = 0,
    shard: Annotated[
        str,
        option("shard", "One part of the rows, as 3/16: the same rows whatever the other parts do. For many machines."),
    ] = "",
    allow_private_urls: AllowPrivateUrls = False,
    rejects: Annotated[
        str,
        option(
            "rejects",
            "CSV (id,path,reason) for images that cannot be used. [default: rejected.csv, if there are any]",
        ),
    ] = "",
    checksum: Annotated[
        bool, option("checksum", "Compare the content of files, not their time and size; reads every file.")
    ] = False,
    reembed: Annotated[
        bool, option("reembed", "Where another model made the collection: embed all of it again by this one.")
    ] = False,
    prune: Annotated[
        bool, option("prune", "Afterwards remove rows of this source whose file or CSV line is gone. Asks first.")
    ] = False,
    yes: Annotated[bool, option("yes", "Do not ask, remove what --prune finds.", "-y")] = False,
    index: Annotated[
        str, option("index", "Vector index: auto, flat, hnsw, ivf_flat, … [default: auto for a new collection]")
    ] = "",
    metric: Annotated[str, option("metric", "cosine, ip or l2. [default: cosine for a new collection]")] = "",
    index_param: Annotated[
        list[str] | None, option("index_param", "name=value, may be repeated: M=32, efConstruction=400, nlist=1024.")
    ] = None,
    profile: Annotated[bool, option("profile", "Print the seconds each step took.")] = False,
    json: Json = False,
) -> None:
    """Index images. Run it again any time: only new and changed images are embedded.

    Example:  python -m pipelines insert photos.csv --model builtin

    Example:  python -m pipelines insert s3://bucket/photos --uri http://milvus:19530 --shard 3/16
    """
    from ..indexing.run import run_insert
    from ..milvus.index import choose_index
    from .output import ProgressBar, print_summary

    if prune and not yes and not sys.stdin.isatty():
        raise InputError("--prune asks before it removes anything, and here is nobody to answer: add --yes")
    chosen = choose_index(uri, index, metric, index_param or ())
    settings = Settings(
        uri, token, collection, model, weights, device, not_negative("batch-size", batch_size),
        runtime=runtime, exact_preprocess=exact_preprocess, allow_private_urls=allow_private_urls,
    )  # fmt: skip
    with ended_by_ctrl_c(), ProgressBar(hidden=json) as bar:
        summary = run_insert(
            source,
            settings,
            limit=not_negative("limit", limit),
            shard=shard,
            rejects=rejects,
            profile=profile,
            checksum=checksum,
            reembed=reembed,
            prune=_confirm(source, yes) if prune else None,
            index=chosen,
            on_progress=bar.update,
        )
    print_summary(summary, as_json=json)
    if summary.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    raise typer.Exit(EXIT_REJECTED if summary.rejected else 0)


def _confirm(source: str, yes: bool) -> Callable[[int, int], bool]:
    """Asks before `--prune` removes anything; a source that lost most of its images is more likely a mistake."""

    def confirm(gone: int, total: int) -> bool:
        print(f"{gone:,} of {total:,} rows of {source} have no file or no line any more", file=sys.stderr)
        if yes:
            return True
        if gone * 2 > total:
            print("that is more than half, so nothing was removed: add --yes if it is meant", file=sys.stderr)
            return False
        return typer.confirm("Remove them from the collection?", err=True)

    return confirm
