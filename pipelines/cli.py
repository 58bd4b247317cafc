"""The command line: insert, search, info, drop, models. Every option has an environment variable (see --help).

Exit status: 0 all done · 1 some pictures were rejected · 2 usage or input · 3 Milvus or a model cannot be reached ·
130 interrupted (run the same command again to go on).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import InputError, SearchError
from .settings import Settings, env_name

EXIT_REJECTED = 1
EXIT_INTERRUPTED = 130


def _option(name: str, help_text: str, *flags: str) -> Any:
    """An option that can also be given by its environment variable."""
    return typer.Option(f"--{name.replace('_', '-')}", *flags, envvar=env_name(name), help=help_text, show_default=True)


Uri = Annotated[
    str, _option("uri", "Milvus: a file (./search.db), a server (http://host:19530) or a Zilliz Cloud endpoint.")
]
Token = Annotated[str, _option("token", "Token or user:password of a Milvus server or Zilliz Cloud.")]
Collection = Annotated[str, _option("collection", "Name of the collection.")]
Model = Annotated[
    str,
    _option(
        "model",
        "Model name, see `models`. Default: the one that made the collection, for a new one clip_vit_base_patch32.",
    ),
]
Weights = Annotated[
    str, _option("weights", "Weights file to use instead of the model's own (OpenAI .pt, state dict, safetensors).")
]
Device = Annotated[str, _option("device", "auto, cpu, cuda, cuda:1 or mps.")]
Json = Annotated[bool, _option("json", "Print JSON instead of a table.")]

DEFAULTS = Settings()

app = typer.Typer(
    name="pipelines",
    help="Text-to-image search: index a CSV or a folder of pictures, then find them by words or by picture.",
    epilog="Exit status: 0 done; 1 some pictures were rejected; 2 usage or input; 3 Milvus or a model out of reach.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


@app.command()
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
    batch_size: Annotated[int, _option("batch_size", "Pictures per model call; 0 chooses by device.")] = 0,
    limit: Annotated[int, _option("limit", "Only the first so many rows; 0 takes all.")] = 0,
    rejects: Annotated[
        str,
        _option(
            "rejects",
            "CSV (id,path,reason) for pictures that cannot be used. [default: rejected.csv, if there are any]",
        ),
    ] = "",
    profile: Annotated[bool, _option("profile", "Print the seconds each step took.")] = False,
    json: Json = False,
) -> None:
    """Index pictures. Run it again any time: only new and changed pictures are embedded.

    Example:  python -m pipelines insert photos.csv --model builtin
    """
    from .insert import run_insert
    from .report import ProgressBar, print_summary

    settings = Settings(uri, token, collection, model, weights, device, _not_negative("batch-size", batch_size))
    with ProgressBar(hidden=json) as bar:
        summary = run_insert(
            source,
            settings,
            limit=_not_negative("limit", limit),
            rejects=rejects,
            profile=profile,
            on_progress=bar.update,
        )
    print_summary(summary, as_json=json)
    if summary.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    raise typer.Exit(EXIT_REJECTED if summary.rejected else 0)


@app.command()
def search(
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="What to look for, in words.")] = "",
    image: Annotated[str, _option("image", "A picture to look for instead of words.")] = "",
    k: Annotated[int, _option("k", "Number of hits.", "-k")] = 10,
    filter: Annotated[
        str, _option("filter", 'Milvus filter on the CSV\'s columns, for example: label == "cat" and year >= 2020')
    ] = "",
    uri: Uri = DEFAULTS.uri,
    token: Token = DEFAULTS.token,
    collection: Collection = DEFAULTS.collection,
    model: Model = DEFAULTS.model,
    weights: Weights = DEFAULTS.weights,
    device: Device = DEFAULTS.device,
    json: Json = False,
) -> None:
    """Find pictures by words or by picture.

    Example:  python -m pipelines search "a white dog" -k 5
    """
    if bool(text.strip()) == bool(image):
        raise InputError('give either words or --image: search "a white dog", or search --image dog.jpg')
    if k < 1:
        raise InputError("-k must be at least 1")
    from .report import print_hits
    from .search import Searcher

    searcher = Searcher(Settings(uri, token, collection, model, weights, device))
    results = searcher.by_image(image, k, filter) if image else searcher.by_text(text, k, filter)
    print_hits(results, searcher.field_names, as_json=json)


@app.command()
def info(
    uri: Uri = DEFAULTS.uri,
    token: Token = DEFAULTS.token,
    collection: Collection = DEFAULTS.collection,
    json: Json = False,
) -> None:
    """Show what a collection holds: rows, model, dimension, index, fields."""
    from .report import print_info
    from .store import Store

    print_info(Store(uri, collection, token).info(), as_json=json)


@app.command()
def drop(
    uri: Uri = DEFAULTS.uri,
    token: Token = DEFAULTS.token,
    collection: Collection = DEFAULTS.collection,
    yes: Annotated[bool, _option("yes", "Do not ask.", "-y")] = False,
) -> None:
    """Remove a collection and everything in it. The pictures themselves are not touched."""
    from .store import Store

    store = Store(uri, collection, token)
    rows = store.info().rows
    if not yes:
        typer.confirm(f"Remove collection '{collection}' with {rows:,} rows from {uri}?", abort=True)
    store.drop()
    print(f"removed '{collection}' ({rows:,} rows)")


@app.command()
def models(json: Json = False) -> None:
    """List the models, and which weights are already here."""
    from .report import print_models

    print_models(as_json=json)


def _not_negative(name: str, value: int) -> int:
    if value < 0:
        raise InputError(f"--{name} cannot be negative")
    return value


def run(typer_app: typer.Typer, name: str) -> None:
    """Runs a typer application; our errors become one line on stderr and their exit status."""
    try:
        typer_app(prog_name=name)
    except SearchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # `… | head`
        sys.stderr.close()
        sys.exit(0)


def main() -> None:
    """`python -m pipelines`."""
    run(app, "python -m pipelines")
