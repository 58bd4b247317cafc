"""The tag in every row of a collection, `name@fingerprint`: by which model, and by which weights of it."""

from __future__ import annotations

import os


def name_of(tag: str) -> str:
    """The model's name, or the folder it was in; '' for ''."""
    return tag.rpartition("@")[0] or tag


def fingerprint_of(tag: str) -> str:
    """The beginning of the weights' SHA-256."""
    return tag.rpartition("@")[2]


def canonical(name: str) -> str:
    """A model's name as tags have it: of a folder its absolute path, so that it is found from anywhere."""
    return os.path.abspath(os.path.expanduser(name)) if is_folder_name(name) else name


def is_folder_name(name: str) -> bool:
    """Whether a model name is a path: `./my-model`, `/models/mine`, `~/mine`."""
    return name.startswith((".", "~")) or "/" in name or os.sep in name


def same_model(one: str, other: str) -> bool:
    """Whether embeddings of both tags are comparable: a folder that was moved still holds the same weights."""
    if one == other:
        return True
    folders = is_folder_name(name_of(one)) and is_folder_name(name_of(other))
    return folders and fingerprint_of(one) == fingerprint_of(other)
