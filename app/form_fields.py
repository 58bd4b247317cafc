"""Choose a field of the filter form for each column of a collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from pipelines.fields import LABEL, PATH, FieldType
from pipelines.search.facets import MOST_VALUES, Facet, Facets, Folder

FEW_VALUES = 12

MANY_VALUES = MOST_VALUES

_LONGEST_VALUE = 60  # characters

Kind = Literal["choices", "many", "bool", "number", "date", "text", "folder"]


class Chosen(TypedDict, total=False):
    """The value of one field of the form, as the texts that the form sends."""

    values: list[str]
    low: str
    high: str
    words: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column as a field of the form.

    kind: `choices` for few and `many` for many distinct values, `number` and `date` for a range, `text` for a part of
        the text.
    choices: the distinct values with their labels, sorted; the folders if this is the folder field.
    low, high: the smallest and the largest number, or the first and the last day.
    anywhere: whether a text matches anywhere in the cell (Milvus Lite) or only at its start (a server).
    """

    name: str
    kind: Kind
    label: str = ""
    is_integer: bool = False
    choices: tuple[tuple[str, str], ...] = ()
    low: float | str | None = None
    high: float | str | None = None
    anywhere: bool = True


def describe_columns(facets: Facets, lite: bool) -> tuple[Column, ...]:
    """Choose a form field for each column in which any image has a value.

    Args:
        facets: the facets of the whole collection.
        lite: whether the collection is in Milvus Lite.
    """
    given = [(facet, facets.rows - facet.empty) for facet in facets.columns]
    columns = [_describe(facet, count, lite) for facet, count in given if count]
    folders = [path.rstrip("/") for path in _paths(facets.folders)][:MANY_VALUES]
    if len(folders) > 1:
        columns.append(Column(PATH, "folder", choices=tuple((folder, folder) for folder in folders)))
    return tuple(columns)


def readable(name: str) -> str:
    """Return the name of a column or a label as words. Data sets write `brain_coral`."""
    return name.replace("_", " ").strip()


def _describe(facet: Facet, given: int, lite: bool) -> Column:
    name, kind, label = facet.field.name, facet.field.type, readable(facet.field.name)
    if kind is FieldType.BOOL:
        return Column(name, "bool", label)
    if kind in (FieldType.INT, FieldType.FLOAT, FieldType.DATE):
        field: Kind = "date" if kind is FieldType.DATE else "number"
        return Column(name, field, label, kind is FieldType.INT, low=facet.low, high=facet.high)
    values = sorted(str(value.value) for value in facet.values)
    longest = max(map(len, values), default=0)
    repeats = facet.distinct <= max(FEW_VALUES, given // 2)
    if not values or longest > _LONGEST_VALUE or facet.distinct > MANY_VALUES or not repeats:
        return Column(name, "text", label, anywhere=lite)
    choices = tuple((value, readable(value) if name == LABEL else value) for value in values)
    return Column(name, "choices" if len(values) <= FEW_VALUES else "many", label, choices=choices)


def _paths(folders: Sequence[Folder]) -> Iterator[str]:
    for folder in folders:
        yield folder.path
        yield from _paths(folder.folders)
