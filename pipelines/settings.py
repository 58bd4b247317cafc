"""Every setting with its default, its meaning and its environment variable, in one place.

A field of an options dataclass is an option of the command line (`--batch-size`) and an environment variable
(`IMAGE_SEARCH_BATCH_SIZE`). `read_options` fills such a dataclass: the command line, the page and the notebook all
start from it.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from .errors import InputError

ENV_PREFIX = "IMAGE_SEARCH_"
DEFAULT_MODEL = "clip_vit_base_patch32_laion2b"  # the best model of its cost
TEMPLATES_HELP = (
    "How to ask for a class: a text with {}, a file of such texts, or openai for the 80 of OpenAI's ImageNet ensemble. "
    "[default: a photo of a {}]"
)
THREADS_HELP = "Threads of decoding, hashing and the model; 0 takes the cores that this process may use."
Options = TypeVar("Options")


def env_name(field: str) -> str:
    """Return the environment variable of a setting: `batch_size` → `IMAGE_SEARCH_BATCH_SIZE`."""
    return ENV_PREFIX + field.upper()


def option(
    default: Any = MISSING, help: str = "", *flags: str, at_least: float | None = None, secret: bool = False
) -> Any:
    """Declare a dataclass field that is also an option.

    Args:
        default: MISSING for an option that has to be given.
        flags: names on the command line, `--field-name` by default; a word without dashes makes it an argument.
        at_least: the smallest number that is accepted.
        secret: leave the value out of the dataclass's repr.
    """
    return dataclasses.field(
        default=default, repr=not secret, metadata={"help": help, "flags": flags, "at_least": at_least}
    )


class AcceptsPaths:
    """Base of options dataclasses that programs fill: a `pathlib.Path` may stand for any text."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, os.PathLike):  # a model's folder is recognised by './' or '/'
                text = os.path.abspath(os.path.expanduser(value)) if name == "model" else os.fspath(value)
                object.__setattr__(self, name, text)


@dataclass(frozen=True)
class Settings(AcceptsPaths):
    """The settings that the commands share."""

    uri: str = option("./search.db", "Milvus: a file, a server (http://host:19530) or a Zilliz Cloud endpoint.")
    token: str = option("", "Token or user:password of a Milvus server or of Zilliz Cloud.", secret=True)
    collection: str = option("images", "Name of the collection.")
    model: str = option(
        "",
        "Model name (see `image-search models`), the folder of a model, or hf:ORG/NAME on the Hugging Face hub. "
        f"Default: the collection's own model; {DEFAULT_MODEL} (a download of 605 MB) for a new one.",
    )
    paths: str = option(
        "", "CSV (id,path) of the images of a collection that another program made and that holds no paths."
    )
    text_model: str = option(
        "", "Text model that reads the queries in the place of the model's own (see `image-search models`); the images "
        "stay as they are embedded.",
    )  # fmt: skip
    weights: str = option("", "Weights file to use instead of the model's own (OpenAI .pt, state dict, safetensors).")
    device: str = option("auto", "auto, cpu, cuda, cuda:1 or mps.")
    batch_size: int = option(0, "Images per model call; 0 chooses by device.", at_least=0)
    threads: int = option(0, THREADS_HELP, at_least=0)
    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0 opens the page to the network.")
    port: int = option(7860, "Port to listen on.")
    runtime: str = option(
        "auto", "What runs the model: pytorch, openvino, triton (a server), or auto for the faster one here."
    )
    model_url: str = option(
        "", "Server that runs the model, filled by `export-model --format triton`: http://host:8000."
    )
    precision: str = option(
        "auto",
        "What the model computes in: fp32, bf16, fp16, int8 (CPUs; calibrated on the images), or auto for the fastest "
        "one that loses nothing.",
    )
    exact_preprocess: bool = option(
        False, "Decode large JPEGs in full before resizing, as the reference implementation does; slower."
    )
    auth: str = option("", "user:password that the page and the API ask for.", secret=True)
    rate_limit: int = option(50, "Searches and uploads per second and client; 0 sets no limit.", at_least=0)
    trusted_proxy: tuple[str, ...] = option(
        (), "Address or network of a proxy whose X-Forwarded-For, -Host and -Proto count; may be repeated."
    )
    allow_private_urls: bool = option(False, "Also fetch images from private, loopback and link-local addresses.")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in zip(("uri", "token"), split_credentials(self.uri, self.token), strict=True):
            object.__setattr__(self, name, value)

    @classmethod
    def from_env(cls, **given: Any) -> Settings:
        """Return the given values, else those of the environment, else the defaults. None means "not given".

        Raises:
            InputError: a value is not usable.
        """
        return read_options(cls, given)

    @property
    def decode_options(self) -> dict[str, Any]:
        """The arguments of the decode operator."""
        return {
            "exact": self.exact_preprocess, "allow_private": self.allow_private_urls, "workers": self.threads,
        }  # fmt: skip

    def command(self, command: str) -> str:
        """Return a shell command for this collection: `image-search COMMAND --uri … --collection …`.

        Defaults are left out.
        """
        words = [f"image-search {command}"]
        for name in ("uri", "collection"):
            value = getattr(self, name)
            if value != getattr(Settings, name):
                words.append(f"--{name} {shlex.quote(value)}")
        return " ".join(words)


def split_credentials(uri: str, token: str = "") -> tuple[str, str]:
    """Take `user:password@` out of an address, which messages show. Return the address, and the token or else these."""
    scheme, mark, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    credentials, _, host = host.rpartition("@")
    return f"{scheme}{mark}{host}{slash}{path}", token or credentials


def value_types(options: type[Any]) -> dict[str, tuple[type, bool]]:
    """Return, for each field, the type of one value and whether the option takes several values.

    `int` and `float | None` are one value, `tuple[str, ...]` several.
    """
    hints = get_type_hints(options).items()
    return {name: (next(iter(get_args(hint)), hint), get_origin(hint) is tuple) for name, hint in hints}


def read_options(options: type[Options], given: Mapping[str, Any]) -> Options:
    """Fill an options dataclass: given values (None means "not given"), then the environment, then the defaults.

    In the environment, spaces separate the values of an option that takes several.

    Raises:
        InputError: a required option is missing, or a value is not a number or too small.
    """
    values: dict[str, Any] = {}
    types = value_types(options)
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        value = given.get(field.name)
        raw = os.environ.get(env_name(field.name), "")
        if value is None and raw and not is_argument(field):
            kind, many = types[field.name]
            read = tuple(_parse(field.name, word, kind) for word in (raw.split() if many else [raw]))
            value = read if many else read[0]
        if value is not None:
            values[field.name] = value
        elif field.default is MISSING:
            raise InputError(f"{flags_of(field)[0]} is missing: give it, or set {env_name(field.name)}")
        least = field.metadata.get("at_least")
        if least is not None and value is not None and value < least:
            raise InputError(f"{flags_of(field)[0]} must be at least {least:g}, not {value:g}")
    return options(**values)


def flags_of(field: dataclasses.Field[Any]) -> tuple[str, ...]:
    """Return the names of a field on the command line, the long name first."""
    return field.metadata["flags"] or (f"--{field.name.replace('_', '-')}",)


def is_argument(field: dataclasses.Field[Any]) -> bool:
    """Return whether a field is an argument: given by its place, not by a name, and not read from the environment."""
    return not flags_of(field)[0].startswith("-")


def cache_dir() -> Path:
    """Return where downloaded weights are kept: IMAGE_SEARCH_CACHE, else the platform's cache folder."""
    explicit = os.environ.get(env_name("cache"))
    try:
        if explicit:
            return Path(explicit).expanduser()
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        raise InputError(f"this user has no home folder: name a folder for downloads by {env_name('cache')}") from None
    return Path(base) / "image-search"


def _parse(name: str, raw: str, kind: type) -> Any:
    if kind is bool:
        value = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(raw.lower())
        if value is None:
            raise InputError(f"{env_name(name)} must be 1 or 0, not '{raw}'")
        return value
    try:
        return kind(raw)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise InputError(f"{env_name(name)} must be {wanted}, not '{raw}'") from None
