"""The tag in every row of a collection, `name@fingerprint`: by which model, and by which weights of it."""

from __future__ import annotations

import os


def name_of(model_id: str) -> str:
    """The model's name, or the folder it was in; '' for ''."""
    return model_id.rpartition("@")[0] or model_id


def fingerprint_of(model_id: str) -> str:
    """The beginning of the weights' SHA-256."""
    return model_id.rpartition("@")[2]


def resolve_name(name: str) -> str:
    """A model's name as tags have it: of a folder its absolute path, so that it is found from anywhere."""
    return os.path.abspath(os.path.expanduser(name)) if is_folder_name(name) else name


def is_folder_name(name: str) -> bool:
    """Whether a model name is a path: `./my-model`, `/models/mine`, `~/mine`."""
    return name.startswith((".", "~")) or "/" in name or os.sep in name


def may_be_same_name(one: str, other: str) -> bool:
    """Whether two names can stand for one model: a folder may have been moved, so of two only the weights tell."""
    return one == other or (is_folder_name(one) and is_folder_name(other))


def is_same_model(one: str, other: str) -> bool:
    """Whether embeddings of both tags are comparable."""
    return may_be_same_name(name_of(one), name_of(other)) and fingerprint_of(one) == fingerprint_of(other)


def is_compatible(stored_model_id: str, model_id: str) -> bool:
    """Whether a collection made by `made_by`, '' if it is empty, takes rows of `tag`."""
    return stored_model_id == "" or is_same_model(stored_model_id, model_id)
