"""The parts of a query as the page shows them: what each is called, and where its buttons lead."""

from __future__ import annotations

import contextlib
import os
from typing import Literal, TypedDict

from pipelines.errors import InputError, SearchError
from pipelines.query import Part
from pipelines.search.results import Hit

from .library import Library
from .query_images import QueryImages
from .state import Address

Kind = Literal["text", "like", "image"]

# What − and + step through; 0 would be no part at all.
WEIGHTS = (-2.0, -1.5, -1.0, -0.5, 0.5, 1.0, 1.5, 2.0)


class PartView(TypedDict):
    """A part of the query with the addresses of its buttons; None for one that does nothing."""

    kind: Kind
    name: str
    thumb: str
    weight: float
    less: str | None
    greater: str | None
    remove: str


def part_views(address: Address, library: Library, images: QueryImages) -> list[PartView]:
    """The parts in their order, images that somebody brought along last; none where the query cannot be read."""
    try:
        parts = address.parts
    except InputError:  # the answer says why
        return []
    views = [_part_view(part, library, address, index) for index, part in enumerate(parts)]
    for index, (key, weight) in enumerate(address.images, len(parts)):
        views.append(_with_buttons("image", "", images.data_url(key), weight, address, index))
    return views


def readable(label: str) -> str:
    """A class name as words: data sets write `brain_coral`."""
    return label.replace("_", " ").strip()


def name_of(hit: Hit) -> str:
    """An image's label, or its file's name."""
    return readable(str(hit.fields.get("label") or "")) or file_name_of(hit)


def file_name_of(hit: Hit) -> str:
    """The last part of its path, as text."""
    return os.path.basename(hit.path).encode(errors="replace").decode()


def _part_view(part: Part, library: Library, address: Address, index: int) -> PartView:
    if part.id is None:
        return _with_buttons("text", part.text, "", part.weight, address, index)
    hit = None
    with contextlib.suppress(SearchError):  # the answer says that the database is gone
        hit = library.get(part.id)
    name = name_of(hit) if hit else str(part.id)
    return _with_buttons("like", name, f"thumb/{part.id}", part.weight, address, index)


def _with_buttons(kind: Kind, name: str, thumb: str, weight: float, address: Address, index: int) -> PartView:
    less = max((step for step in WEIGHTS if step < weight), default=None)
    greater = min((step for step in WEIGHTS if step > weight), default=None)
    return {
        "kind": kind, "name": name, "thumb": thumb, "weight": weight,
        "less": None if less is None else address.with_weight(index, less).url,
        "greater": None if greater is None else address.with_weight(index, greater).url,
        "remove": address.with_weight(index, None).url,
    }  # fmt: skip
