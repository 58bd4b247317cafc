"""A model folder, written by `image-search train`: the weights, and a JSON card with what the tensors do not show."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from ..errors import InputError, ModelError
from .architecture import Architecture
from .spec import Activation, ModelSpec, Weights

WEIGHTS_FILE = "model.safetensors"
NEXT_FILE = "next.safetensors"  # the new weights, while they replace others
CARD_FILE = "model.json"

_MOST_JSON = 2**24  # bytes of the largest configuration


def read_folder(folder: Path) -> ModelSpec:
    """Read a model folder. The model's name is the absolute path, so that a collection can find it again.

    Raises:
        InputError: there is no such folder.
        ModelError: a file is missing or invalid.
    """
    if not folder.is_dir():
        raise InputError(f"there is no model folder {folder}; if it was moved, say where it is now: --model PATH")
    how = "it must be a folder that `image-search train` wrote, or that has a repository's config.json"
    path = folder / CARD_FILE
    for file in (path, folder / WEIGHTS_FILE):
        if not file.is_file():
            raise ModelError(f"{folder} holds no {file.name}: {how}; is the training finished?")
    try:
        card = read_json(path)
        weights = NEXT_FILE if card.get("weights") == NEXT_FILE else WEIGHTS_FILE
        return ModelSpec(
            name=str(folder),
            weights=Weights(weights, sha256=str(card["sha256"]), path=folder / weights),
            licence=str(card["licence"]),
            note=f"trained from {card.get('base', 'nothing')}",
            **model_values(card),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:160]
        raise ModelError(f"{path} does not describe a model: {reason}; {how}") from error


def read_json(file: Path) -> Any:
    """Read a configuration.

    Raises:
        OSError, ValueError, RecursionError: it cannot be read, is not JSON, or is too large.
    """
    with open(file, "rb") as opened:
        data = opened.read(_MOST_JSON + 1)
    if len(data) > _MOST_JSON:
        raise ValueError(f"it has more than {_MOST_JSON >> 20} MB")
    return json.loads(data.decode())


def model_values(card: Mapping[str, Any]) -> dict[str, Any]:
    """Read the values that determine an embedding from a card, as arguments of `ModelSpec`.

    Raises:
        KeyError, TypeError, ValueError: a value is missing or invalid.
    """
    sizes = dict(card["architecture"])
    if isinstance(sizes.get("vision_layers"), list):
        sizes["vision_layers"] = tuple(sizes["vision_layers"])
    for name, value in sizes.items():
        parts = value if isinstance(value, tuple) else (value,)
        absent = name == "vision_patch_size" and value is None
        if not absent and not all(type(part) is int and part > 0 for part in parts):
            raise ValueError(f"architecture.{name} must be a positive whole number")
    if card["activation"] not in get_args(Activation):
        raise ValueError(f"activation must be {', '.join(get_args(Activation)[:-1])} or {get_args(Activation)[-1]}")
    return {
        "architecture": Architecture(**sizes), "activation": card["activation"],
        "mean": channels(card["mean"]), "std": channels(card["std"]),
    }  # fmt: skip


def channels(values: Iterable[Any]) -> tuple[float, float, float]:
    """Return a number for each of red, green and blue.

    Raises:
        TypeError, ValueError: they are not three finite numbers.
    """
    red, green, blue = (float(value) for value in values)
    if not math.isfinite(red + green + blue):
        raise ValueError("a mean or a deviation is no finite number")
    return red, green, blue
