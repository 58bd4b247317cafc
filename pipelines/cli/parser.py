"""Turns options dataclasses into commands: each field is an option, named, described and defaulted once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, get_type_hints

import click

from ..settings import Settings, env_name, flags_of, is_argument, option, read_options, value_types

COLLECTION = ("uri", "token", "collection")
MODEL = ("model", "weights", "device", "runtime")
READING = ("exact_preprocess", "allow_private_urls")
ALL_SETTINGS = tuple(field.name for field in dataclasses.fields(Settings) if field.name != "batch_size")
HELP_FLAGS = {"help_option_names": ["-h", "--help"]}
_ENVIRONMENT = f"Each option can also be set in the environment: --some-option as {env_name('some_option')}."


@dataclasses.dataclass(frozen=True)
class Output:
    """How a command prints its result."""

    json: bool = option(False, "Print JSON instead of text.")


def command(function: Callable[..., int | None], *settings: str) -> click.Command:
    """Make a command of a function whose parameters are options dataclasses; its docstring is the manual.

    The function returns the exit status, None for 0.

    Args:
        settings: the fields of `Settings` that are options of this command.
    """
    groups = {name: hint for name, hint in get_type_hints(function).items() if name != "return"}
    parameters = [
        _parameter(field, *value_types(options)[field.name])
        for options in groups.values()
        for field in dataclasses.fields(options)
        if options is not Settings or field.name in settings
    ]

    def run(**given: Any) -> int:
        given = {name: None if value == () else value for name, value in given.items()}  # click's "not given"
        values = {name: read_options(options, given) for name, options in groups.items()}
        return function(**values) or 0

    return click.Command(
        function.__name__, callback=run, params=parameters, help=function.__doc__, epilog=_ENVIRONMENT,
        context_settings=HELP_FLAGS,
    )  # fmt: skip


def _parameter(field: dataclasses.Field[Any], kind: type, many: bool) -> click.Parameter:
    """An argument or an option without a default of its own: `read_options` fills in what was not given."""
    flags = flags_of(field)
    required = field.default is dataclasses.MISSING
    if is_argument(field):
        return click.Argument([field.name], metavar=flags[0], type=kind, nargs=-1 if many else 1, required=required)
    help_text = field.metadata["help"]
    if required:
        help_text += "  [required]"
    elif kind is not bool and field.default not in ("", None, ()):
        help_text += f"  [default: {field.default}]"
    shape: dict[str, Any] = {"is_flag": True} if kind is bool else {"type": kind, "multiple": many}
    return click.Option([*flags, field.name], help=help_text, default=None, **shape)
