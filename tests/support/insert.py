"""What the tests of insert runs share."""

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
    """Inserted, updated, unchanged, rejected; for runs in which nothing is deduplicated and no metadata is updated."""
    assert (summary.deduplicated, summary.metadata_updated) == (0, 0)
    return summary.inserted, summary.updated, summary.unchanged, summary.rejected


def did(summary: Summary) -> dict[str, int]:
    """All counts that are not zero."""
    names = ("inserted", "updated", "deduplicated", "metadata_updated", "unchanged", "rejected", "removed")
    assert summary.rows == sum(getattr(summary, name) for name in names[:-1])
    return {name: getattr(summary, name) for name in names if getattr(summary, name)}


def collection_of(settings: Settings) -> Collection:
    """The collection of these settings."""
    return Collection(settings.uri, settings.collection)


def read_rejects(path: Path) -> list[dict[str, str]]:
    """The rows of a reject list."""
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def all_rows(settings: Settings) -> dict[int, dict[str, object]]:
    """Every row with every field."""
    collection = collection_of(settings)
    names = [field["name"] for field in collection.describe()["fields"]]
    return {row["id"]: dict(row) for rows in collection.scan("", names) for row in rows}


def vectors(settings: Settings) -> dict[int, np.ndarray]:
    """Every row's embedding."""
    return {key: np.asarray(row[EMBEDDING], np.float32) for key, row in all_rows(settings).items()}


def distinct_copies(source: Path, folder: Path, count: int) -> list[Path]:
    """Files of one image that differ in content: bytes after a JPEG's end are no part of the image."""
    folder.mkdir(parents=True, exist_ok=True)
    data = source.read_bytes()
    paths = [folder / f"{number:05}.jpg" for number in range(count)]
    for path in paths:
        path.write_bytes(data + b"%d" % next(_serial))
    return paths
