"""`image-search`: all commands together, and how the program ends."""

from __future__ import annotations

import codecs
import io
import json
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from .. import __version__
from ..errors import EXIT_INTERRUPTED, CollectionNotFound, InputError, OutOfMemory, SearchError
from ..settings import Settings
from .collection import copy, drop, info, models
from .evaluate import evaluate
from .insert import insert
from .parser import ALL_SETTINGS, COLLECTION, HELP_FLAGS, MODEL, READING, command
from .prune import prune
from .search import search
from .serve import serve
from .train import train

_ESCAPE = "image-search-escape"  # how letters are printed that the terminal's encoding lacks


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which people meet them."""
        return list(self.commands)


@click.group(
    cls=_Commands,
    context_settings=HELP_FLAGS,
    epilog="\b\nExit status:\n"
    "  0    done\n"
    "  1    some images were rejected, or a folder cannot be listed\n"
    "  2    an option or the input is not usable\n"
    "  3    Milvus or a model cannot be reached\n"
    "  4    the training made the model no better\n"
    "  130  interrupted; run the same command again to go on",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def group() -> None:
    """Index a CSV or a folder of images, then find them by words or by image."""


for entry in (
    command(insert, *COLLECTION, *MODEL, "batch_size", *READING),
    command(search, *COLLECTION, "paths", *MODEL, *READING),
    command(serve, *ALL_SETTINGS),
    command(evaluate, *COLLECTION, *MODEL, *READING),
    command(train),
    command(info, *COLLECTION),
    command(copy, "collection"),
    command(prune, *COLLECTION, "allow_private_urls"),
    command(drop, *COLLECTION),
    command(models),
):
    group.add_command(entry)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command (`sys.argv` by default) and exit; an expected error is one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPE)
    try:
        status = group.main(arguments, prog_name="image-search", standalone_mode=False)
    except SearchError as error:
        status = _fail(f"{error}{_hint(error)}", error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        status = error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        manual = f" (see `{context.command_path} --help`)" if context else ""
        status = _fail(error.format_message() + manual, error.exit_code)
    except MemoryError:
        status = _fail("there is not enough memory: close other programs", OutOfMemory.exit_code)
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        status = _fail(f"{named}{error.strerror or error}", InputError.exit_code)
    except click.Abort as abort:
        interrupted = isinstance(abort.__cause__, KeyboardInterrupt)
        status = _fail("interrupted", EXIT_INTERRUPTED) if interrupted else _fail("nothing was changed", 1)
    sys.exit(status)


def _hint(error: SearchError) -> str:
    """Return the command that fills a missing collection."""
    if not isinstance(error, CollectionNotFound) or not error.collection:
        return ""
    return f"; fill it with: {Settings(uri=error.uri, collection=error.collection).command('insert CSV_OR_FOLDER')}"


def _escape(error: UnicodeError) -> tuple[str, int]:
    r"""Return what to print for letters that the terminal's encoding lacks: \u65e5, which JSON has as well."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(_ESCAPE, _escape)


def _fail(message: str, status: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status
