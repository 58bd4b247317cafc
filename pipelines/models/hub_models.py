"""Models that are not registered: repositories of the Hugging Face hub (`hf:ORG/NAME`), and folders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import InputError, ModelError
from .hub_config import CONFIGS, PREPROCESSOR, Description, read_config
from .hub_files import fetch_from_hub
from .languages import CROSSMODAL, XLM_R
from .model_folder import CARD_FILE, read_folder
from .model_id import HUB
from .spec import ModelSpec, Weights

WEIGHTS_FILES = (
    "open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors", "pytorch_model.bin",
)  # fmt: skip
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def read_repository(name: str) -> ModelSpec:
    """Describe the model of a repository; download its configuration files if they are missing.

    Raises:
        InputError: the name is not that of a repository.
        ModelError: it cannot be reached, or holds no model of a family that this program knows.
    """
    repository = name.removeprefix(HUB)
    if not _REPOSITORY.fullmatch(repository):
        raise InputError(f"{name} names no repository: write {HUB}ORGANISATION/NAME")
    source = Weights("", repository=repository)
    config = None
    for file in CONFIGS:
        config = config or fetch_from_hub(name, source, file)
    if config is None:
        raise ModelError(f"{name}: the repository has no {' and no '.join(CONFIGS)}, or does not exist")
    fetch_from_hub(name, source, PREPROCESSOR)
    found = read_config(config.parent)
    if found is None:
        raise ModelError(f"{name}: its {config.name} describes no CLIP, SigLIP or Chinese-CLIP")
    first, *others = _weights_files(found)
    weights = Weights("", repository=repository, hub_file=first, others=tuple(others))
    return _spec(name, weights, found, "see its page on the hub")


def read_any_folder(folder: Path) -> ModelSpec:
    """Describe the model of a folder that `image-search train` wrote, or that holds the files of a repository.

    Raises:
        InputError: there is no such folder.
        ModelError: a file is missing or invalid.
    """
    found = read_config(folder) if not (folder / CARD_FILE).is_file() else None
    if found is None:
        return read_folder(folder)
    path = next((folder / file for file in _weights_files(found) if (folder / file).is_file()), None)
    if path is None:
        raise ModelError(f"{folder} holds no weights: none of {', '.join(_weights_files(found))}")
    return _spec(str(folder), Weights(path.name, path=path), found, "")


def _weights_files(found: Description) -> tuple[str, ...]:
    is_open_clip = found.file.name == CONFIGS[0]
    return WEIGHTS_FILES if is_open_clip else WEIGHTS_FILES[2:]


def _spec(name: str, weights: Weights, found: Description, licence: str) -> ModelSpec:
    return ModelSpec(name, weights=weights, licence=licence, languages=_languages(found.values), **found.values)


def _languages(values: dict[str, Any]) -> tuple[str, ...]:
    """Guess the languages from the size of the vocabulary, because a configuration does not name them."""
    text, architecture = values.get("text"), values["architecture"]
    if text is None:
        return CROSSMODAL if values["family"] == "siglip" and architecture.vocab_size >= 250000 else ("en",)
    return XLM_R if text.vocab_size >= 250000 else ("zh",) if text.vocab_size == 21128 else ("en",)
