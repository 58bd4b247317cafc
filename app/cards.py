"""An image as the page shows it: as a card in the grid, and with its details in the viewer."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any, TypedDict

from pipelines.fields import row_id
from pipelines.search.results import Hit

from .form_fields import readable
from .search_state import SearchState

_LONGEST_FIELD = 300  # characters


class Card(TypedDict):
    """One image in the grid.

    score: '' if nothing was searched for.
    ratio: the image's width divided by its height; 0 if the collection does not have them.
    alike: number of near-duplicates folded into it.
    use: URL of the search with this image added; '' if the query is full.
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

    modified: the modification time of the file in ISO format; '' for a URL.
    bytes: size of the file; 0 if unknown.
    is_here: whether the file still exists.
    can_open: whether the server can open the folder on the reader's own screen.
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
    """Return the card of one image among the results of a state."""
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
    """Return the columns in which an image has a value: the name, the name as words, the value."""
    given = [(name, value) for name, value in fields.items() if name not in without and value not in (None, "")]
    return [
        (name, readable(name), value if isinstance(value, bool) else str(value)[:_LONGEST_FIELD])
        for name, value in given
    ]


def label_of(hit: Hit) -> str:
    """Return the label of an image, or its file name if it has none."""
    return readable(str(hit.fields.get("label") or "")) or _file_name(hit)


def _ratio(width: object, height: object) -> float:
    """The columns may contain anything. The script corrects the ratio when the thumbnail has loaded."""
    numbers = isinstance(width, int | float) and isinstance(height, int | float)
    return round(width / height, 3) if numbers and width > 0 and height > 0 else 0  # type: ignore[operator]


def _file_name(hit: Hit) -> str:
    return os.path.basename(hit.path).encode(errors="replace").decode()
