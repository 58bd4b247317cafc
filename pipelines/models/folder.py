"""A model in a folder, as `train` leaves it: `model.safetensors`, and in `model.json` what tensors cannot say."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError, ModelError
from .registry import Architecture, ModelSpec, Weights

WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "model.json"
_HOW = "it must be a folder that `train` wrote"


def folder_spec(folder: Path) -> ModelSpec:
    """The model in this folder. Its name is the folder's absolute path, by which a collection finds it again.

    Raises:
        InputError: there is no such folder.
        ModelError: a file is missing or is not as it must be.
    """
    if not folder.is_dir():
        raise InputError(f"there is no model folder {folder}; if it was moved, say where it is now: --model PATH")
    for name in (CARD_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} holds no {name}: {_HOW}; is the training finished?")
    path = folder / CARD_FILE
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        return ModelSpec(
            name=str(folder),
            weights=Weights(WEIGHTS_FILE, sha256=_text(card, "sha256"), path=folder / WEIGHTS_FILE),
            licence=_text(card, "licence"),
            note=f"trained from {card.get('base', 'nothing')}",
            **model_values(card),
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:160]
        raise ModelError(f"{path} does not describe a model: {reason}; {_HOW}") from error


def model_values(card: Mapping[str, Any]) -> dict[str, Any]:
    """Architecture, activation, mean and deviation out of JSON, as arguments of `ModelSpec`.

    Raises:
        KeyError, TypeError, ValueError: something is missing or not as it must be.
    """
    sizes = dict(card["architecture"])
    if isinstance(sizes.get("vision_layers"), list):
        sizes["vision_layers"] = tuple(sizes["vision_layers"])
    for name, value in sizes.items():
        parts = value if isinstance(value, tuple) else (value,)
        absent = name == "vision_patch_size" and value is None
        if not absent and not all(type(part) is int and part > 0 for part in parts):
            raise ValueError(f"architecture.{name} must be a positive whole number")
    if card["activation"] not in ("quick_gelu", "gelu"):
        raise ValueError("activation must be quick_gelu or gelu")
    return {
        "architecture": Architecture(**sizes), "activation": card["activation"],
        "mean": _channels(card, "mean"), "std": _channels(card, "std"),
    }  # fmt: skip


def card_values(spec: ModelSpec) -> dict[str, Any]:
    """The other way: what JSON has to say so that `model_values` finds it again."""
    return {
        "architecture": dataclasses.asdict(spec.architecture), "activation": spec.activation,
        "mean": list(spec.mean), "std": list(spec.std),
    }  # fmt: skip


def _text(card: Mapping[str, Any], name: str) -> str:
    if not isinstance(card[name], str):
        raise ValueError(f"{name} must be a text")
    return str(card[name])


def _channels(card: Mapping[str, Any], name: str) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in card[name])
    return red, green, blue
