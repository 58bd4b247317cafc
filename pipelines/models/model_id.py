"""The model id that every row of a collection carries: `name@fingerprint`, or `/folder@fingerprint-recipe`.

The fingerprint is the start of the SHA-256 of the weights file. The recipe is a hash of everything else that determines
an embedding (`ModelSpec.recipe`); anybody can edit that in a model folder or on the hub. Embeddings are comparable only
if their weights and recipes are equal. Ids of version 0.1 have no recipe and count as having the folder's current one.
The first insert, which copies the rows, writes that recipe into them.
"""

from __future__ import annotations

import dataclasses
import os

from ..settings import DEFAULT_MODEL, Settings

HUB = "hf:"


def name_of(model_id: str) -> str:
    """Return the name or folder of the model; '' for ''."""
    return model_id.rpartition("@")[0] or model_id


def fingerprint_of(model_id: str) -> str:
    """Return the first digits of the weights' SHA-256."""
    return model_id.rpartition("@")[2].partition("-")[0]


def make_model_id(name: str, sha256: str, recipe: str) -> str:
    """Return the id of a model with these weights. The recipe of a registered model is fixed by its name."""
    return f"{name}@{sha256[:12]}" + (f"-{recipe}" if is_folder_name(name) or is_hub_name(name) else "")


def is_hub_name(name: str) -> bool:
    """Return whether a model name is a repository of the Hugging Face hub: `hf:ORGANISATION/NAME`."""
    return name.startswith(HUB)


def is_folder_name(name: str) -> bool:
    """Return whether a model name is a path: `./my-model`, `/models/mine`, `~/mine`."""
    return not is_hub_name(name) and (name.startswith((".", "~")) or "/" in name or os.sep in name)


def resolve_name(name: str | os.PathLike[str]) -> str:
    """Return the name as model ids hold it: a folder becomes an absolute path, valid in any working directory."""
    is_folder = isinstance(name, os.PathLike) or is_folder_name(name)
    return os.path.abspath(os.path.expanduser(name)) if is_folder else str(name)


def resolve_model(settings: Settings, stored_model_id: str = "") -> Settings:
    """Name the model in the settings: the requested one, else the collection's own, else the default."""
    return dataclasses.replace(
        settings, model=resolve_name(settings.model or name_of(stored_model_id) or DEFAULT_MODEL)
    )


def may_be_same_name(one: str, other: str) -> bool:
    """Return whether two names can mean the same model.

    A folder can move, or be a copy of a repository, so any two of these names can: their weights decide.
    """
    return one == other or all(is_folder_name(name) or is_hub_name(name) for name in (one, other))


def is_same_model(one: str, other: str) -> bool:
    """Return whether embeddings with these two model ids are comparable. A name alone stands for any weights."""
    if not may_be_same_name(name_of(one), name_of(other)):
        return False
    if "@" not in one or "@" not in other:
        return True
    same_weights = fingerprint_of(one) == fingerprint_of(other)
    return same_weights and not note_on_recipe(one, other)


def note_on_recipe(stored_model_id: str, model_id: str) -> str:
    """Return a note for a message if two model ids have the same weights but different recipes, else ''."""
    stored, ours = (one.rpartition("@")[2].partition("-") for one in (stored_model_id, model_id))
    is_edited = stored[0] == ours[0] and stored[2] and ours[2] and stored[2] != ours[2]
    return " (its model.json was edited since)" if is_edited else ""


def with_recipe(stored_model_id: str, model_id: str) -> str:
    """Return the stored id; if it is from version 0.1, with the recipe of the same model's current id."""
    stored, recipe = (one.rpartition("@")[2].partition("-")[2] for one in (stored_model_id, model_id))
    return f"{stored_model_id}-{recipe}" if recipe and not stored else stored_model_id


def is_compatible(stored_model_id: str, model_id: str) -> bool:
    """Return whether rows of `model_id` may enter a collection of `stored_model_id`, '' for an empty collection."""
    return stored_model_id == "" or is_same_model(stored_model_id, model_id)
