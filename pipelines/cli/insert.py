"""`python -m pipelines insert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..settings import Settings
from .options import (
    DEFAULTS,
    Collection,
    Device,
    ExactPreprocess,
    Json,
    Model,
    Runtime,
    Token,
    Uri,
    Weights,
    not_negative,
    option,
)

EXIT_REJECTED = 1
EXIT_INTERRUPTED = 130


def insert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE", help="A CSV with the columns id,path,label (only path is needed), or a folder."
        ),
    ],
    uri: Uri = DEFAULTS.uri,
    token: Token = DEFAULTS.token,
    collection: Collection = DEFAULTS.collection,
    model: Model = DEFAULTS.model,
    weights: Weights = DEFAULTS.weights,
    device: Device = DEFAULTS.device,
    runtime: Runtime = DEFAULTS.runtime,
    batch_size: Annotated[int, option("batch_size", "Pictures per model call; 0 chooses by device.")] = 0,
    exact_preprocess: ExactPreprocess = DEFAULTS.exact_preprocess,
    limit: Annotated[int, option("limit", "Only the first so many rows; 0 takes all.")] = 0,
    rejects: Annotated[
        str,
        option(
            "rejects",
            "CSV (id,path,reason) for pictures that cannot be used. [default: rejected.csv, if there are any]",
        ),
    ] = "",
    profile: Annotated[bool, option("profile", "Print the seconds each step took.")] = False,
    json: Json = False,
) -> None:
    """Index pictures. Run it again any time: only new and changed pictures are embedded.

    Example:  python -m pipelines insert photos.csv --model builtin
    """
    from ..insert import run_insert
    from ..report import ProgressBar, print_summary

    settings = Settings(
        uri, token, collection, model, weights, device, not_negative("batch-size", batch_size),
        runtime=runtime, exact_preprocess=exact_preprocess,
    )  # fmt: skip
    with ProgressBar(hidden=json) as bar:
        summary = run_insert(
            source,
            settings,
            limit=not_negative("limit", limit),
            rejects=rejects,
            profile=profile,
            on_progress=bar.update,
        )
    print_summary(summary, as_json=json)
    if summary.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    raise typer.Exit(EXIT_REJECTED if summary.rejected else 0)
