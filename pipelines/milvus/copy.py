"""Copy a collection to another Milvus: between Milvus Lite files and servers, or to and from Parquet files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import CollectionNotFound, InputError, ModelMismatch
from ..fields import Field
from ..models.model_id import is_compatible
from . import schema
from .calls import chunked
from .collection import Collection
from .columns import Convert, convert_row, converter, merge
from .index import AUTO, Index
from .lite import is_lite

# Approximate number of rows of each end that are compared value by value after the copy.
SAMPLE = 1000

Row = Mapping[str, Any]


@dataclass
class CopySummary:
    """Counts of a copy. `rows` were read; of these `copied` were written, and `unchanged` were there already.

    rows_before: rows of the target before the copy.
    added: rows that the target did not have.
    sampled, different: rows of either end that were compared value by value, and those of them that are wrong.
    """

    source: str
    target: str
    rows: int = 0
    copied: int = 0
    unchanged: int = 0
    rows_before: int = 0
    added: int = 0
    rows_in_source: int = 0
    rows_in_target: int = 0
    sampled: int = 0
    different: int = 0
    seconds: float = 0.0
    rows_per_second: float = 0.0

    @property
    def verified(self) -> bool:
        """Every row of the source was read, the target lost none of its own, and no sampled row differs."""
        is_complete = self.rows == self.rows_in_source <= self.rows_in_target
        return is_complete and self.rows_before + self.added <= self.rows_in_target and not self.different

    def add(self, rows: int, copied: int, added: int, seconds: float) -> None:
        """Count one part of the rows."""
        self.added += added
        self.rows += rows
        self.copied += copied
        self.unchanged = self.rows - self.copied
        self.seconds = round(seconds, 3)
        self.rows_per_second = round(self.rows / self.seconds, 1) if self.seconds else 0.0


CopyProgress = Callable[[CopySummary], None]


def copy_collection(source: Collection, target: Collection, on_progress: CopyProgress | None = None) -> CopySummary:
    """Copy every row with its vector. Running an interrupted copy again skips the rows that are there and equal.

    A new target gets the columns and the metric type of the source. It also gets the source's index, unless one of them
    is a Milvus Lite file and the other a server. The source is not changed. No row of the target is removed, and a row
    of both keeps the columns and the sources that only the target has. Afterwards a sample of the rows of both ends is
    compared with what the target should hold.

    Raises:
        InputError: both are the same collection, or the target cannot store the source's columns.
        ModelMismatch: another model made the target.
        StoreError: the source is empty, or one of them cannot be reached.
    """
    convert = _prepare(source, target)
    target.read_as_of_now()  # else each look-up would wait for the latest writes, 0.2 s on a server
    start = time.perf_counter()
    summary = CopySummary(str(source), str(target))
    summary.rows_in_source, summary.rows_before = source.count(), target.count()
    names = schema.field_names(source.describe())
    compared = [name for name in schema.field_names(target.describe()) if name not in (schema.ID, schema.EMBEDDING)]
    empty = {**schema.ADDED, **{field.key: field.default for field in target.fields()}}
    every = max(1, summary.rows_in_source // SAMPLE)
    before: dict[int, Row] = {}  # the sampled rows as the target held them before the copy
    if summary.rows_before:
        own = target.query("", [schema.ID, *compared, schema.EMBEDDING], limit=SAMPLE)
        before = {row[schema.ID]: row for row in own}
    for rows in _parts(source, names):
        # An empty target needs no look-ups.
        stored = target.get([row[schema.ID] for row in rows], compared) if summary.rows_before else {}
        wanted = [_merge(convert(row), stored.get(row[schema.ID], empty)) for row in rows]
        missing = [row for row in wanted if not _is_same(row, stored.get(row[schema.ID]))]
        target.upsert(missing)
        sample = [row[schema.ID] for at, row in enumerate(rows, summary.rows) if at % every == 0]
        before.update((key, stored.get(key, empty)) for key in sample if key not in before)
        summary.add(len(rows), len(missing), len(rows) - len(stored), time.perf_counter() - start)
        if on_progress:
            on_progress(summary)
    if summary.copied:
        target.flush()
    target.optimize()
    summary.rows_in_target = target.count()
    summary.sampled, summary.different = len(before), _count_different(source, target, before, convert)
    summary.add(0, 0, 0, time.perf_counter() - start)
    return summary


def _prepare(source: Collection, target: Collection) -> Convert:
    """Check both ends, and create the target if it does not exist. Return a function that converts the source's rows.

    A target with rows keeps its own model id: the folder of a model may have been moved since.
    """
    if (source.address, source.name) == (target.address, target.name):
        raise InputError("source and target are the same collection; name another Milvus or another collection")
    model_id = source.model()
    if not model_id:
        message = f"the collection '{source.name}' in {source.uri} is empty"
        raise CollectionNotFound(message, uri=source.uri, collection=source.name)
    source.refuse_older_program()
    if not target.exists():
        is_same_kind = is_lite(source.uri) == is_lite(target.uri)
        index = source.index if is_same_kind else Index(AUTO, source.index.metric)
        target.create(source.dim(), source.fields(), index)
    target_model_id = target.model()
    target.refuse_older_program()
    if not is_compatible(target_model_id, model_id) or source.dim() != target.dim():
        raise ModelMismatch(
            f"'{target.name}' in {target.uri} was made by {target_model_id or 'another model'}, '{source.name}' by "
            f"{model_id}: copy to another collection"
        )
    cells = converter(source.fields(), _matching(source, target))
    own = {schema.MODEL: target_model_id or model_id}
    unknown = schema.ADDED.keys() - schema.field_names(source.describe())  # what a source of version 1 lacks

    def convert(row: Row) -> dict[str, Any]:
        return {name: value for name, value in {**convert_row(row, cells), **own}.items() if name not in unknown}

    return convert


def _matching(source: Collection, target: Collection) -> list[Field]:
    """Return the target's columns in the order of the source's."""
    if target.version() < schema.VERSION:
        raise InputError(f"'{target.name}' was made by an earlier version of this program: insert into it once first")
    stored = {field.name: field for field in target.fields()}
    for field in source.fields():
        there = stored.get(field.name)
        if there is None or merge([there], [field])[0].type is not there.type or there.from_file != field.from_file:
            origin = " and from the files" if there and there.from_file else ""
            has = f"stores '{field.name}' as {there.type.value}{origin}" if there else f"has no column '{field.name}'"
            raise InputError(f"'{target.name}' {has}; copy to another collection")
    return [stored[field.name] for field in source.fields()]


def _parts(collection: Collection, names: Sequence[str]) -> Iterator[Sequence[dict[str, Any]]]:
    for rows in collection.scan("", names):
        for part in chunked(rows):
            yield [{**row, schema.EMBEDDING: _vector(row)} for row in part]


def _count_different(source: Collection, target: Collection, before: Mapping[int, Row], convert: Convert) -> int:
    """Count the sampled rows that differ from the merge of the source's row and the target's row before the copy."""
    names = [name for name in schema.field_names(target.describe()) if name != schema.ID]
    here = source.get([*before], [name for name in schema.field_names(source.describe()) if name != schema.ID])
    there = target.get([*before], names)
    wanted = {key: _merge(convert(here[key]), held) if key in here else held for key, held in before.items()}
    return sum(not _is_equal(row, there.get(key), target) for key, row in wanted.items())


def _merge(row: Row, stored: Row) -> dict[str, Any]:
    """Return a row of the source as the target should hold it, with the cells and sources that only the target has."""
    sources = [*schema.split_sources(stored.get(schema.SOURCE, "")), *schema.split_sources(row[schema.SOURCE])]
    return {**stored, **row, schema.SOURCE: schema.join_sources(sources)}


def _is_same(row: Row, stored: Row | None) -> bool:
    """Return whether the target already has the row. Equal content hashes and model ids imply equal vectors."""
    return stored is not None and all(row[name] == stored[name] for name in row if name != schema.EMBEDDING)


def _is_equal(row: Row, stored: Row | None, target: Collection) -> bool:
    if stored is None or not _is_same(row, stored):
        return False
    return np.array_equal(target.stored_vector(_vector(row)), _vector(stored))


def _vector(row: Row) -> np.ndarray:
    return np.asarray(row[schema.EMBEDDING], np.float32)
