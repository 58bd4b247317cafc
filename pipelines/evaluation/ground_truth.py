"""What is right: the label of each image and the captions of each image, from the collection or from a CSV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..fields import ID, PATH
from ..sources.csv_text import records
from .stored import Stored


class Caption(NamedTuple):
    """A text and the id of the image it describes."""

    id: int
    text: str


@dataclass
class Truth:
    """Labels by image id (images without one are in nobody's class) and captions, in the file's order."""

    labels: dict[int, str] = field(default_factory=dict)
    captions: list[Caption] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def classes(self) -> list[str]:
        """The distinct labels, sorted."""
        return sorted(set(self.labels.values()))

    def about(self, ids: np.ndarray) -> Truth:
        """What of it is about these images; a copy, with notes of its own."""
        present = set(ids.tolist())
        return Truth(
            {key: label for key, label in self.labels.items() if key in present},
            [caption for caption in self.captions if caption.id in present],
            list(self.notes),
        )


def read_truth(stored: Stored, labels: str, label_column: str, captions: str) -> Truth:
    """The labels and captions to measure by.

    Args:
        labels: a CSV with `id` or `path` and the label column; '' takes the labels stored in the collection.
        captions: a CSV with `id` or `path` and `caption`; '' means there are none.

    Raises:
        InputError: a CSV cannot be read, or none of its rows is about an image of the collection.
    """
    truth = Truth()
    if labels:
        truth.labels = dict(_about(stored, Path(labels), label_column, truth.notes))
    else:
        pairs = zip(stored.ids, stored.labels, strict=True)
        truth.labels = {int(key): label for key, label in pairs if label}
    if captions:
        truth.captions = [Caption(*pair) for pair in _about(stored, Path(captions), "caption", truth.notes)]
    return truth


def _about(stored: Stored, path: Path, column: str, notes: list[str]) -> Iterator[tuple[int, str]]:
    """Pairs of image id and text, for the rows about images that are in the collection."""
    path = path.expanduser()
    by_path = dict(zip(stored.paths, stored.ids.tolist(), strict=True))
    known = set(stored.ids.tolist())
    found = absent = 0
    for key_name, key, text in _rows(path, column):
        if key_name == ID:
            image = int(key) if key.lstrip("+-").isdigit() else None
        else:
            image = by_path.get(os.path.normpath(os.path.join(os.path.abspath(path.parent), os.path.expanduser(key))))
        if not text:
            continue
        if image is None or image not in known:
            absent += 1
            continue
        found += 1
        yield image, text
    if not found:
        raise InputError(f"{path}: none of its rows is about an image of the collection (by 'id', else by 'path')")
    if absent:
        notes.append(f"{path.name}: {absent:,} of {found + absent:,} rows are about images the collection lacks")


def _rows(path: Path, column: str) -> Iterator[tuple[str, str, str]]:
    """(name of the key column, key, text) of each row."""
    for separator in ",;\t":
        try:
            lines = records(path, "utf-8-sig", separator)
            columns = [name.strip() for name in next(lines, (0, []))[1]]
        except UnicodeError as error:
            raise InputError(f"{path} is not UTF-8; save it as UTF-8 and run again") from error
        key_name = next((name for name in (ID, PATH) if name in columns), None)
        if key_name is None or column not in columns:
            continue
        key_at, text_at = columns.index(key_name), columns.index(column)
        try:
            for _, cells in lines:
                if len(cells) > max(key_at, text_at):
                    yield key_name, cells[key_at].strip(), cells[text_at].strip()
        except UnicodeError as error:
            raise InputError(f"{path} is not UTF-8; save it as UTF-8 and run again") from error
        return
    raise InputError(f"{path}, row 1: there must be a column '{column}', and 'id' or 'path'")
