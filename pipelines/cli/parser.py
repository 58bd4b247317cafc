"""Turn options dataclasses into commands. Each field is an option, with its name, help and default in one place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container
from itertools import islice
from pathlib import Path
from typing import Any, get_type_hints

import click

from ..errors import InputError
from ..settings import Settings, env_name, flags_of, is_argument, option, read_options, split_credentials, value_types

COLLECTION = ("uri", "token", "collection")
MODEL = ("model", "weights", "device", "runtime", "model_url", "precision", "threads")
READING = ("exact_preprocess", "allow_private_urls")
ALL_SETTINGS = tuple(field.name for field in dataclasses.fields(Settings) if field.name != "batch_size")
# The options that are addresses of a Milvus, each with the option where its secret belongs.
_TOKEN_OF = {"uri": "token", "source": "from_token", "target": "to_token"}
HELP_FLAGS = {"help_option_names": ["-h", "--help"]}
_ENVIRONMENT = (
    f"Each option can also be set in the environment: --some-option as {env_name('some_option')}, and in the place of "
    f"--token-file the token itself as {env_name('token')}."
)


@dataclasses.dataclass(frozen=True)
class Output:
    """How a command prints its result."""

    json: bool = option(False, "Print JSON instead of text.")


class _SearchCommand(click.Command):
    """A command whose texts may begin with a minus: `search "-people beach"`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Move the texts after the options and '--', where click takes them as they are."""
        options = [option for option in self.get_params(ctx) if isinstance(option, click.Option)]
        takes_value = {flag: not option.is_flag for option in options for flag in option.opts}
        given: list[str] = []
        texts: list[str] = []
        rest = iter(args)
        for word in rest:
            if word == "--":
                texts += rest
            elif _is_option(word, takes_value):
                given += [word, *islice(rest, 1 if takes_value.get(word) else 0)]
            else:
                texts.append(word)
        return super().parse_args(ctx, [*given, "--", *texts])


def _is_option(word: str, known: Container[str]) -> bool:
    """True for --filter, -k, -k5 and any other single letter; False for -people and -5."""
    is_short = word[:1] == "-" and word[1:2].isalpha()
    return word.startswith("--") or (is_short and (len(word) == 2 or (word[:2] in known and not word[2].isalpha())))


def command(function: Callable[..., int | None], *settings: str) -> click.Command:
    """Turn a function whose parameters are options dataclasses into a command. Its docstring is the manual.

    The function returns the exit status, None for 0.

    Args:
        settings: the fields of `Settings` that are options of this command.
    """
    groups = {name: hint for name, hint in get_type_hints(function).items() if name != "return"}
    fields = [
        (field, value_types(options)[field.name])
        for options in groups.values()
        for field in dataclasses.fields(options)
        if options is not Settings or field.name in settings
    ]
    parameters = [_secret(field) if _is_secret(field) else _parameter(field, *types) for field, types in fields]
    parameters += [_refused(field) for field, _ in fields if _is_secret(field)]

    def run(**given: Any) -> int:
        given = {name: None if value == () else value for name, value in given.items()}  # click's "not given"
        values = {name: read_options(options, given) for name, options in groups.items()}
        return function(**values) or 0

    name = function.__name__.strip("_").replace("_", "-")
    takes_texts = any(isinstance(parameter, click.Argument) and parameter.nargs == -1 for parameter in parameters)
    return (_SearchCommand if takes_texts else click.Command)(
        name, callback=run, params=parameters, help=function.__doc__, epilog=_ENVIRONMENT, context_settings=HELP_FLAGS
    )  # fmt: skip


def _is_secret(field: dataclasses.Field[Any]) -> bool:
    """Whether a field is only a secret. An address may contain one, too, but messages are printed without it."""
    return not field.repr and field.default == ""


def _secret(field: dataclasses.Field[Any]) -> click.Option:
    """An option that names the file of a secret, because everyone who lists processes sees their options."""
    help_text = f"File that holds it: {field.metadata['help']}"
    return click.Option(
        [f"{flags_of(field)[0]}-file", field.name], metavar="FILE", callback=_read_secret, help=help_text
    )


def _read_secret(context: click.Context, parameter: click.Parameter, path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeError) as error:
        raise InputError(f"{parameter.opts[0]}: {path} cannot be read: {error}") from error


def _refused(field: dataclasses.Field[Any]) -> click.Option:
    """The option of 0.1 that took the secret itself."""
    flag, name = flags_of(field)[0], env_name(field.name)

    def refuse(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            raise InputError(
                f"{flag} would show the secret to everyone who lists processes: give {flag}-file FILE, or set {name}"
            )

    return click.Option([flag, f"{field.name}_itself"], hidden=True, expose_value=False, callback=refuse)


def _refuse_credentials(context: click.Context, parameter: click.Parameter, address: str | None) -> str | None:
    """Refuse `http://user:password@host`, which everyone who lists processes would see."""
    if address and split_credentials(address)[1]:
        token = _TOKEN_OF[str(parameter.name)]
        flag = "--" + token.replace("_", "-")
        raise InputError(
            f"{parameter.opts[0]} would show the password to everyone who lists processes: leave it out, "
            f"and give {flag}-file FILE, or set {env_name(token)}"
        )
    return address


def _parameter(field: dataclasses.Field[Any], kind: type, many: bool) -> click.Parameter:
    """An argument or an option without a default in click: `read_options` fills in missing values."""
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
    if field.name in _TOKEN_OF:
        shape["callback"] = _refuse_credentials
    return click.Option([*flags, field.name], help=help_text, default=None, **shape)
