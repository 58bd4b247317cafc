"""Options that several commands share. Each can also be given by its environment variable."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from ..errors import InputError
from ..settings import Settings, env_name

DEFAULTS = Settings()
EXIT_REJECTED, EXIT_INTERRUPTED = 1, 130


def option(name: str, help_text: str, *flags: str) -> Any:
    """An option that can also be given by its environment variable."""
    return typer.Option(f"--{name.replace('_', '-')}", *flags, envvar=env_name(name), help=help_text, show_default=True)


def not_negative(name: str, value: int) -> int:
    """The value, if it is one that can be counted to.

    Raises:
        InputError: it is below zero.
    """
    if value < 0:
        raise InputError(f"--{name} cannot be negative")
    return value


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """Ends the process at once at a Ctrl-C that nobody inside has made something of. What is stored is safe."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(EXIT_INTERRUPTED)  # sys.exit would wait for the threads to end what they have in hand


Uri = Annotated[
    str, option("uri", "Milvus: a file (./search.db), a server (http://host:19530) or a Zilliz Cloud endpoint.")
]
Token = Annotated[str, option("token", "Token or user:password of a Milvus server or Zilliz Cloud.")]
Collection = Annotated[str, option("collection", "Name of the collection.")]
Model = Annotated[
    str,
    option(
        "model",
        "Model name, see `models`. Default: the one that made the collection, for a new one clip_vit_base_patch32.",
    ),
]
Weights = Annotated[
    str, option("weights", "Weights file to use instead of the model's own (OpenAI .pt, state dict, safetensors).")
]
Device = Annotated[str, option("device", "auto, cpu, cuda, cuda:1 or mps.")]
Runtime = Annotated[str, option("runtime", "What runs the model: auto (the faster one here), pytorch or openvino.")]
ExactPreprocess = Annotated[
    bool, option("exact_preprocess", "Decode large JPEGs in full before resizing, as the reference does; slower.")
]
AllowPrivateUrls = Annotated[
    bool, option("allow_private_urls", "Also fetch images from private, loopback and link-local addresses.")
]
Templates = Annotated[
    str,
    option(
        "templates",
        "How to ask for a class: a text with {}, a file of such texts, or 'openai', the 80 of OpenAI's ImageNet "
        "ensemble. [default: a photo of a {}]",
    ),
]
Json = Annotated[bool, option("json", "Print JSON instead of a table.")]
