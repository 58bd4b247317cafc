"""The command line. Every option has an environment variable (see --help).

Exit status: 0 all done · 1 some images were rejected · 2 usage or input · 3 Milvus or a model cannot be reached ·
130 interrupted (run the same command again to go on).
"""

from __future__ import annotations

import shlex
import sys

import typer

from ..errors import CollectionNotFound, SearchError
from .collection import drop, info
from .copy import copy
from .evaluate import evaluate
from .insert import insert
from .models import models
from .options import DEFAULTS, EXIT_INTERRUPTED
from .search import search
from .train import train

app = typer.Typer(
    name="pipelines",
    help="Text-to-image search: index a CSV or a folder of images, then find them by words or by image.",
    epilog="Exit status: 0 done; 1 some images were rejected; 2 usage or input; 3 Milvus or a model out of reach.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for command in (insert, search, evaluate, train, info, copy, drop, models):
    app.command()(command)


def run(typer_app: typer.Typer, name: str) -> None:
    """Runs a typer application; our errors become one line on stderr and their exit status."""
    try:
        typer_app(prog_name=name)
    except SearchError as error:
        hint = _fill_hint(error) if isinstance(error, CollectionNotFound) else ""
        print(f"error: {error}{hint}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # `… | head`
        sys.stderr.close()
        sys.exit(0)


def _fill_hint(error: CollectionNotFound) -> str:
    """The command that fills the missing collection; it names the options that are not the defaults."""
    if not error.collection:
        return ""
    command = ["python", "-m", "pipelines", "insert", "CSV_OR_FOLDER"]
    if error.uri != DEFAULTS.uri:
        command += ["--uri", error.uri]
    if error.collection != DEFAULTS.collection:
        command += ["--collection", error.collection]
    return f"; fill it with: {shlex.join(command)}"


def main() -> None:
    """`python -m pipelines`."""
    run(app, "python -m pipelines")
