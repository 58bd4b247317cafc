"""`image-search`: all commands together, and how the program ends."""

from __future__ import annotations

import codecs
import io
import json
import sys
from collections import UserDict
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import NoReturn

import click

from .. import __version__
from ..errors import EXIT_INTERRUPTED, CollectionNotFound, InputError, OutOfMemory, SearchError
from ..settings import Settings
from .parser import ALL_SETTINGS, COLLECTION, HELP_FLAGS, MODEL, READING, command

_ESCAPE = "image-search-escape"  # error handler for characters that the terminal's encoding lacks


# Each command: its module in this package, its function, and its settings. In the order in which they are listed.
_COMMANDS = {
    "insert": ("insert", "insert", *COLLECTION, *MODEL, "batch_size", *READING),
    "search": ("search", "search", *COLLECTION, "paths", *MODEL, "text_model", *READING),
    "serve": ("serve", "serve", *ALL_SETTINGS),
    "evaluate": ("evaluate", "evaluate", *COLLECTION, *MODEL, "text_model", *READING),
    "train": ("train", "train"),
    "info": ("collection", "info", *COLLECTION),
    "copy": ("collection", "copy", "collection"),
    "export": ("vectors", "export", *COLLECTION),
    "import": ("vectors", "import_", *COLLECTION, "model", "weights"),
    "prune": ("prune", "prune", *COLLECTION, "allow_private_urls"),
    "drop": ("collection", "drop", *COLLECTION),
    "models": ("models", "models"),
    "export-model": ("export_model", "export_model", "model", "weights", "text_model", "precision"),
}


class _Commands(UserDict[str, click.Command]):
    """The commands, each imported and made on first use: making all of them takes three times as long as one."""

    def __getitem__(self, name: str) -> click.Command:
        if name not in self.data:
            module, function, *settings = _COMMANDS[name]
            self[name] = command(getattr(import_module(f".{module}", __package__), function), *settings)
        return self.data[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)

    def __contains__(self, name: object) -> bool:
        return name in _COMMANDS


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of `_COMMANDS`."""
        return list(self.commands)


@click.group(
    cls=_Group,
    commands=_Commands(),
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


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command (`sys.argv` by default) and exit; an expected error is one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPE)
    try:
        status = group.main(arguments, prog_name="image-search", standalone_mode=False, obj=arguments is None)
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
    """Return a hint at the command that fills a missing collection."""
    if not isinstance(error, CollectionNotFound) or not error.collection:
        return ""
    return f"; fill it with: {Settings(uri=error.uri, collection=error.collection).command('insert CSV_OR_FOLDER')}"


def _escape(error: UnicodeError) -> tuple[str, int]:
    r"""Return the escape to print for characters that the terminal's encoding lacks: \u65e5, as in JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(_ESCAPE, _escape)


def _fail(message: str, status: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status
