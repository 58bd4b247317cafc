"""Replace a row by one with another id: store the new row, then delete the old one. A kill may come in between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..fields import EMBEDDING, ID
from ..milvus import schema
from ..milvus.collection import Collection
from .steps import Embed

# Sizes that no file has. UNFINISHED: the old row may still be stored, and the modification time is its id. UNKNOWN: the
# next run of the source looks at the file again.
_UNFINISHED, _UNKNOWN = -1, -2


def marked(step: Embed) -> dict[str, Any]:
    """Return the entity of a step, marked as unfinished if it replaces another row."""
    replaced = step.match.replaces
    return {**step.entity, schema.SIZE: _UNFINISHED, schema.MTIME_NS: replaced[0]} if replaced else step.entity


def finish(collection: Collection, steps: Sequence[Embed]) -> None:
    """Delete the rows that these stored rows replace, then remove the marks."""
    steps = [step for step in steps if step.match.replaces]
    if steps:
        collection.delete([key for step in steps for key in step.match.replaces])
        stored = collection.get([step.row.id for step in steps], [EMBEDDING, schema.PRECISION])
        collection.upsert({**step.entity, **stored[step.row.id]} for step in steps if step.row.id in stored)


def finish_killed(collections: Iterable[Collection]) -> None:
    """Finish the rows that a killed run left marked."""
    for collection in collections:
        if collection.exists() and schema.SIZE in schema.field_names(collection.describe()):
            _finish_killed(collection)


def _finish_killed(collection: Collection) -> None:
    found = collection.query(f"{schema.SIZE} == {_UNFINISHED}", [ID, schema.MTIME_NS])
    if found:
        collection.delete([row[schema.MTIME_NS] for row in found])
        names = schema.field_names(collection.describe())
        stored = collection.get([row[ID] for row in found], names).values()
        collection.upsert({**row, schema.SIZE: _UNKNOWN, schema.MTIME_NS: 0} for row in stored)
