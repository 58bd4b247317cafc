"""An image as the page shows it: as a card of the grid, and with all that is known of it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any, TypedDict

from pipelines.fields import row_id
from pipelines.search.results import Hit

from .columns import readable
from .search_state import SearchState

_LONGEST_FIELD = 300  # characters


class Card(TypedDict):
    """One image.

    score: '' where nothing was searched for.
    ratio: its width divided by its height, 0 if the collection does not say.
    alike: number of near-duplicates folded into it.
    use: '' if the query is full.
    """

    id: str
    label: str
    name: str
    score: str
    ratio: float
    alike: int
    alike_url: str
    similar: str
    use: str


class DetailsView(TypedDict):
    """What the viewer shows beside an image.

    modified: the time of the file, ISO; '' for a URL.
    bytes: size of the file, 0 if it is not known.
    is_here: whether the file is still there.
    can_open: whether its folder can be opened on the reader's screen.
    """

    card: Card
    path: str
    folder: str
    bytes: int
    width: int
    height: int
    modified: str
    fields: list[tuple[str, str, str | bool]]
    is_here: bool
    can_open: bool


def card_view(hit: Hit, state: SearchState, scored: bool = True) -> Card:
    """Return one image of the results of a state."""
    return {
        "id": str(row_id(hit.id)),  # JavaScript's numbers have 53 bits
        "label": label_of(hit),
        "name": _file_name(hit),
        "score": f"{hit.score:.3f}" if scored and hit.score is not None else "",
        "ratio": _ratio(hit.fields.get("width"), hit.fields.get("height")),
        "alike": hit.folded,
        "alike_url": state.url_of_alike(hit.id) if hit.folded else "",
        "similar": state.url_of_similar(hit.id),
        "use": "" if state.is_full else state.url_with_image(hit.id),
    }


def field_views(fields: Mapping[str, Any], without: Collection[str]) -> list[tuple[str, str, str | bool]]:
    """Return the columns of an image that have a value: name, name for people, value."""
    given = [(name, value) for name, value in fields.items() if name not in without and value not in (None, "")]
    return [
        (name, readable(name), value if isinstance(value, bool) else str(value)[:_LONGEST_FIELD])
        for name, value in given
    ]


def label_of(hit: Hit) -> str:
    """Return what an image is called: its label, or else its file."""
    return readable(str(hit.fields.get("label") or "")) or _file_name(hit)


def _ratio(width: object, height: object) -> float:
    """The script corrects a ratio when the thumbnail is there: the columns may hold anything."""
    numbers = isinstance(width, int | float) and isinstance(height, int | float)
    return round(width / height, 3) if numbers and width > 0 and height > 0 else 0  # type: ignore[operator]


def _file_name(hit: Hit) -> str:
    return os.path.basename(hit.path).encode(errors="replace").decode()
