"""What a collection holds, for measuring: ids, paths, labels, and the vectors in a memory-mapped temporary file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..milvus import schema
from ..milvus.collection import Collection
from .prompts import unit

Advance = Callable[[int], object]


@dataclass(frozen=True)
class Stored:
    """A collection's rows, by id. `vectors` float32[n, dim] of unit length lie on disk; slices are read when used."""

    ids: np.ndarray
    paths: list[str]
    labels: list[str]
    vectors: np.ndarray

    def rows_by_id(self) -> dict[int, int]:
        """Row of each id."""
        return {int(key): row for row, key in enumerate(self.ids)}


def read_stored(collection: Collection, folder: Path, label_field: str, advance: Advance) -> Stored:
    """Copies the collection's vectors into a file of `folder`, some thousand rows in memory at a time.

    Args:
        label_field: the field that holds the label, '' for none: the labels are then all ''.
        advance: told how many rows were read.
    """
    rows, dim = collection.count(), collection.dim()
    vectors = np.memmap(folder / "vectors.f32", np.float32, "w+", shape=(rows, dim))
    ids: list[int] = []
    paths: list[str] = []
    labels: list[str] = []
    for part in collection.scan("", [schema.PATH, schema.EMBEDDING, *([label_field] if label_field else [])]):
        part = part[: rows - len(ids)]  # somebody may be inserting at this moment
        vectors[len(ids) : len(ids) + len(part)] = unit(np.array([row[schema.EMBEDDING] for row in part], np.float32))
        ids += [int(row[schema.ID]) for row in part]
        paths += [row[schema.PATH] for row in part]
        labels += [_text(row[label_field]) if label_field else "" for row in part]
        advance(len(part))
    return Stored(np.array(ids, np.int64), paths, labels, vectors[: len(ids)])


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
