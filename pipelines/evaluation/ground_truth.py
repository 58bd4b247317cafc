"""Ground truth: the label and the captions of each image, from the collection or from a CSV."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..fields import ID, PATH, row_id
from ..milvus.collection import Collection
from ..models.languages import NAMES
from ..sources.csv_text import records
from .exact import EmbeddingTable


class Caption(NamedTuple):
    """A text and the id of the image it describes."""

    id: int
    text: str


@dataclass
class GroundTruth:
    """The known labels and captions of images.

    labels: class name by image id; an image without a label belongs to no class.
    captions: in the order of the file; an image may have several.
    notes: sentences for the report, about rows that could not be used.
    """

    labels: dict[int, str] = field(default_factory=dict)
    captions: list[Caption] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """The distinct labels, sorted."""
        return sorted(set(self.labels.values()))

    def subset(self, ids: np.ndarray) -> GroundTruth:
        """Return a copy that covers only these images."""
        present = set(ids.tolist())
        labels = {key: label for key, label in self.labels.items() if key in present}
        return GroundTruth(labels, [item for item in self.captions if item.id in present], list(self.notes))


def read_ground_truth(table: EmbeddingTable, labels: str, label_column: str, captions: str) -> GroundTruth:
    """Read the labels and captions of a collection's images.

    Args:
        labels: a CSV with `id` or `path` and the label column; '' takes the labels stored in the collection.
        captions: a CSV with `id` or `path` and `caption`; '' means that there are none.

    Raises:
        InputError: a CSV cannot be read, or none of its rows names an image of the collection.
    """
    truth = GroundTruth()
    if labels:
        truth.labels = dict(_matched(table, Path(labels), label_column, truth.notes))
    else:
        truth.labels = {key: label for key, label in zip(table.ids.tolist(), table.labels, strict=True) if label}
    if captions:
        truth.captions = [Caption(*pair) for pair in _matched(table, Path(captions), "caption", truth.notes)]
    return truth


def read_ground_truths(
    table: EmbeddingTable, collection: Collection, labels: str, label_column: str, captions: str,
    text_columns: Sequence[str],
) -> dict[str, GroundTruth]:  # fmt: skip
    """Read the labels and captions in each language of `text_columns`; without any, read them under the key ''.

    Args:
        text_columns: 'en=caption', or several with commas between.

    Raises:
        InputError: as for `read_ground_truth`, or a column with texts does not exist.
    """
    pairs = [pair.partition("=") for pairs in text_columns for pair in pairs.split(",") if pair]
    if not pairs:
        return {"": read_ground_truth(table, labels, label_column, captions)}
    keys = {} if labels else {field.name: field.key for field in collection.fields()}
    truths: dict[str, GroundTruth] = {}
    for language, mark, column in pairs:
        if not mark or language not in NAMES:
            raise InputError(f"--text-columns takes LANGUAGE=COLUMN, as en=caption; languages are {', '.join(NAMES)}")
        truth = truths[language] = GroundTruth()
        if captions and column in _columns(Path(captions)):
            truth.captions = [Caption(*pair) for pair in _matched(table, Path(captions), column, truth.notes)]
        if labels and column in _columns(Path(labels)):
            truth.labels = dict(_matched(table, Path(labels), column, truth.notes))
        elif column in keys:
            rows = (row for rows in collection.scan("", [keys[column]]) for row in rows)
            truth.labels = {int(row[ID]): str(row[keys[column]]) for row in rows if row[keys[column]]}
        if not truth.captions and not truth.labels:
            raise InputError(f"--text-columns: there is no column '{column}' with texts about these images")
    return truths


def _columns(path: Path) -> set[str]:
    """Return the names in the first row of a CSV, with any of the separators."""
    first = (next(records(path.expanduser(), "utf-8-sig", separator), (0, []))[1] for separator in ",;\t")
    return {name.strip() for names in first for name in names}


def _matched(table: EmbeddingTable, path: Path, column: str, notes: list[str]) -> Iterator[tuple[int, str]]:
    """Yield image id and text of each row whose image is in the collection; add a note on the other rows."""
    path = path.expanduser()
    by_path = dict(zip(table.paths, table.ids.tolist(), strict=True))
    matched = absent = 0
    for key_name, key, text in _rows(path, column):
        if not text:
            continue
        if key_name == ID:
            image: int | None = row_id(key)
        else:
            image = by_path.get(os.path.normpath(os.path.join(os.path.abspath(path.parent), os.path.expanduser(key))))
        if image is None or image not in table.row_of:
            absent += 1
            continue
        matched += 1
        yield image, text
    if not matched:
        raise InputError(f"{path}: none of its rows is about an image of the collection (by 'id', else by 'path')")
    if absent:
        notes.append(f"{path.name}: rows about images the collection lacks: {absent:,} of {matched + absent:,}")


def _rows(path: Path, column: str) -> Iterator[tuple[str, str, str]]:
    """Yield the name of the key column, the key and the text of each row."""
    try:
        for separator in ",;\t":
            lines = records(path, "utf-8-sig", separator)
            columns = [name.strip() for name in next(lines, (0, []))[1]]
            key_name = next((name for name in (ID, PATH) if name in columns), None)
            if key_name is None or column not in columns:
                continue
            key_at, text_at = columns.index(key_name), columns.index(column)
            for _, cells in lines:
                if len(cells) > max(key_at, text_at):
                    yield key_name, cells[key_at].strip(), cells[text_at].strip()
            return
    except UnicodeError as error:
        raise InputError(f"{path} is not UTF-8; save it as UTF-8 and run again") from error
    raise InputError(f"{path}, row 1: there must be a column '{column}', and 'id' or 'path'")
