"""Helpers for tests of insert runs."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np

from pipelines import Settings, Summary
from pipelines.fields import EMBEDDING
from pipelines.milvus.collection import Collection

_serial = itertools.count()


def counts(summary: Summary) -> tuple[int, int, int, int]:
    """Return inserted, updated, unchanged, rejected; check that no row was deduplicated or got new metadata."""
    assert (summary.deduplicated, summary.metadata_updated) == (0, 0)
    return summary.inserted, summary.updated, summary.unchanged, summary.rejected


def did(summary: Summary) -> dict[str, int]:
    """Return all counts that are not zero."""
    names = (
        "inserted",
        "updated",
        "deduplicated",
        "moved",
        "metadata_updated",
        "unchanged",
        "rejected",
        "broken",
        "removed",
    )
    assert summary.rows == sum(getattr(summary, name) for name in names[:-2])
    return {name: getattr(summary, name) for name in names if getattr(summary, name)}


def collection_of(settings: Settings) -> Collection:
    """Return the collection of these settings."""
    return Collection(settings.uri, settings.collection)


def read_rejects(path: Path) -> list[dict[str, str]]:
    """Return the rows of a reject list."""
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def all_rows(settings: Settings) -> dict[int, dict[str, object]]:
    """Return every row with every field, by id."""
    collection = collection_of(settings)
    names = [field["name"] for field in collection.describe()["fields"]]
    return {row["id"]: dict(row) for rows in collection.scan("", names) for row in rows}


def vectors(settings: Settings) -> dict[int, np.ndarray]:
    """Return the embedding of every row, by id."""
    return {key: np.asarray(row[EMBEDDING], np.float32) for key, row in all_rows(settings).items()}


def distinct_copies(source: Path, folder: Path, count: int) -> list[Path]:
    """Write copies of a JPEG that differ in content: bytes after the end of a JPEG do not belong to the image."""
    folder.mkdir(parents=True, exist_ok=True)
    data = source.read_bytes()
    paths = [folder / f"{number:05}.jpg" for number in range(count)]
    for path in paths:
        path.write_bytes(data + b"%d" % next(_serial))
    return paths
