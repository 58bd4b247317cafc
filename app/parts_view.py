"""The parts of a query as the page shows them, with the URLs of their buttons."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal, TypedDict
from urllib.parse import urlsplit

from pipelines.fields import row_id
from pipelines.search.results import Hit

from .cards import label_of
from .search_state import SearchState

# The steps of the buttons − and +. A part cannot have the weight 0.
WEIGHTS = (-2.0, -1.5, -1.0, -0.5, 0.5, 1.0, 1.5, 2.0)

PartKind = Literal["text", "like", "image"]


class PartView(TypedDict):
    """One part of the query, with the URLs of its buttons. None disables a button.

    name: '' for an uploaded image.
    """

    kind: PartKind
    name: str
    thumb: str
    weight: float
    less: str | None
    greater: str | None
    remove: str


def part_views(state: SearchState, hits: Mapping[int | str, Hit | None], thumbs: Mapping[str, str]) -> list[PartView]:
    """Return the views of the parts of a query. For `hits` and `thumbs` see `shared_view`."""
    views: list[PartView] = []
    for part in state.parts:
        if part.id is None:
            views.append(_part_view(state, len(views), "text", part.weight, part.text))
        else:
            hit = hits.get(part.id)
            name = label_of(hit) if hit else str(part.id)
            views.append(_part_view(state, len(views), "like", part.weight, name, f"thumb/{row_id(part.id)}"))
    for image in state.images:
        name = os.path.basename(urlsplit(image.name).path) if image.is_web else ""
        views.append(_part_view(state, len(views), "image", image.weight, name, thumbs.get(image.key, "")))
    return views


def _part_view(
    state: SearchState, index: int, kind: PartKind, weight: float, name: str = "", thumb: str = ""
) -> PartView:
    less = max((step for step in WEIGHTS if step < weight), default=None)
    greater = min((step for step in WEIGHTS if step > weight), default=None)
    return {
        "kind": kind, "name": name, "thumb": thumb, "weight": weight,
        "less": None if less is None else state.url_with_weight(index, less),
        "greater": None if greater is None else state.url_with_weight(index, greater),
        "remove": state.url_with_weight(index, None),
    }  # fmt: skip
