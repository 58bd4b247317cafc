"""Copies a collection from one Milvus to another: a Lite file to a server, back, or to another file."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import CollectionNotFound, InputError, ModelMismatch
from ..models.model_id import is_compatible
from . import schema
from .collection import ROWS_PER_CALL, Collection, chunked
from .connection import is_lite, normalise_uri
from .index import AUTO, Index

# Rows whose every value is compared after the copy.
SAMPLE = 1000

Row = Mapping[str, Any]


@dataclass
class CopySummary:
    """What a copy did. `rows` is the number read; `copied` and `unchanged` add up to it."""

    source: str
    target: str
    rows: int = 0
    copied: int = 0
    unchanged: int = 0
    rows_in_source: int = 0
    rows_in_target: int = 0
    sampled: int = 0
    different: int = 0
    seconds: float = 0.0
    rows_per_second: float = 0.0

    @property
    def verified(self) -> bool:
        """Every row of the source was read, the target holds at least as many, and no sampled row differs."""
        return self.rows == self.rows_in_source <= self.rows_in_target and not self.different


CopyProgress = Callable[[CopySummary], None]


def copy_collection(source: Collection, target: Collection, on_progress: CopyProgress | None = None) -> CopySummary:
    """Copies every row, vectors included; a repeated or interrupted copy skips what is there and equal.

    The target gets the source's columns, metric type and, from like to like, index; between Milvus Lite and a
    server the index that suits the other kind. Nothing in the source is changed, nothing in the target removed.

    Raises:
        InputError: both are the same, or the target cannot store what the source holds.
        ModelMismatch: the target holds embeddings of another model.
        StoreError: one of them cannot be reached.
    """
    model_id = _prepare(source, target)
    start = time.perf_counter()
    summary = CopySummary(f"{source.uri} {source.name}", f"{target.uri} {target.name}")
    summary.rows_in_source = source.count()
    names = [name for name in _field_names(source) if name != schema.ID]
    defaults = {field.name: field.default for field in target.fields()}
    every = max(1, summary.rows_in_source // SAMPLE)
    sample: list[int] = []
    for rows in _parts(source, names, model_id):
        stored = target.get([row[schema.ID] for row in rows], [name for name in names if name != schema.EMBEDDING])
        missing = [row for row in rows if not _same(row, stored.get(row[schema.ID]))]
        target.upsert({**defaults, **row} for row in missing)
        sample += [row[schema.ID] for at, row in enumerate(rows, summary.rows) if at % every == 0]
        summary.rows += len(rows)
        summary.copied += len(missing)
        summary.unchanged = summary.rows - summary.copied
        summary.seconds = round(time.perf_counter() - start, 3)
        summary.rows_per_second = round(summary.rows / summary.seconds, 1)
        if on_progress:
            on_progress(summary)
    if summary.copied:
        target.flush()
    target.optimize()
    summary.rows_in_target = target.count()
    summary.sampled, summary.different = len(sample), _count_different(source, target, sample, names, model_id)
    summary.seconds = round(time.perf_counter() - start, 3)
    return summary


def _prepare(source: Collection, target: Collection) -> str:
    """Checks both ends, and makes the target if it is not there; returns the model's tag for the rows in it.

    That is the target's own, where it has rows: the folder of a model may have been moved since.
    """
    if (normalise_uri(source.uri), source.name) == (normalise_uri(target.uri), target.name):
        raise InputError("source and target are the same collection; name another with --to or --to-collection")
    model = source.model()
    if not model:
        raise CollectionNotFound(f"the collection '{source.name}' in {source.uri} is empty")
    source.refuse_older_program()
    fields = tuple(dataclasses.replace(field, has_gaps=_has_gaps(source, field)) for field in source.fields())
    if not target.exists():
        alike = is_lite(source.uri) == is_lite(target.uri)
        index = source.index if alike else Index(AUTO, source.index.metric)
        target.create(source.dim(), fields, index)
        return model
    there = target.model()
    target.refuse_older_program()
    if not is_compatible(there, model) or source.dim() != target.dim():
        raise ModelMismatch(
            f"'{target.name}' in {target.uri} was made by {there or 'another model'}, '{source.name}' by "
            f"{model}: copy to another collection (--to-collection)"
        )
    schema.reconcile(fields, target.fields())
    return there or model


def _has_gaps(collection: Collection, field: schema.Field) -> bool:
    """Whether some row has no value; text is never NULL."""
    if field.type is schema.FieldType.TEXT or not field.has_gaps:
        return False
    return bool(collection.query(f"{field.name} is null", [schema.ID], limit=1))


def _parts(collection: Collection, names: Sequence[str], model_id: str) -> Iterator[Sequence[dict[str, Any]]]:
    for rows in collection.scan("", names):
        for part in chunked(rows, ROWS_PER_CALL):
            yield [{**row, schema.EMBEDDING: _vector(row), schema.MODEL: model_id} for row in part]


def _same(row: Row, stored: Row | None) -> bool:
    """Whether the target has the row already: a vector is that of its content, by its model."""
    return stored is not None and all(row[name] == stored[name] for name in row if name != schema.EMBEDDING)


def _count_different(
    source: Collection, target: Collection, ids: Sequence[int], names: Sequence[str], model_id: str
) -> int:
    here, there = source.get(ids, names), target.get(ids, names)
    return sum(
        row_id not in here
        or not _same({**here[row_id], schema.MODEL: model_id}, there.get(row_id))
        or not np.array_equal(_vector(here[row_id]), _vector(there[row_id]))
        for row_id in ids
    )


def _vector(row: Row) -> np.ndarray:
    return np.asarray(row[schema.EMBEDDING], np.float32)


def _field_names(collection: Collection) -> list[str]:
    return [field["name"] for field in collection.describe()["fields"]]
