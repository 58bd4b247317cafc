"""What the page shows, as JSON for its script. The script inserts every value as text, never as markup.

Views hold data only. The words around it are in `locales/`; a view names them by their keys.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, TypedDict

from pipelines.fields import row_id
from pipelines.search.results import Hit, Results

from .filter_form import fill_form, readable
from .library import Example, Overview
from .search_state import MAX_SHOWN, SearchState

DEMO_MODEL = "builtin"
DEMO_ADVICE = "--model clip_vit_base_patch32"
# The steps of the buttons − and +. A part cannot have the weight 0.
WEIGHTS = (-2.0, -1.5, -1.0, -0.5, 0.5, 1.0, 1.5, 2.0)
_LONGEST_FIELD = 300  # characters

PartKind = Literal["text", "like", "image"]


class Card(TypedDict):
    """One image. `alike` counts the near-duplicates folded into it; `use` is '' if the query is full."""

    id: str
    label: str
    name: str
    score: str
    alike: int
    fields: list[tuple[str, str | bool]]
    similar: str
    use: str


class PartView(TypedDict):
    """One part of the query, with the addresses of its buttons; None disables a button."""

    kind: PartKind
    name: str
    thumb: str
    weight: float
    less: str | None
    greater: str | None
    remove: str


class FormView(TypedDict):
    """The filter form.

    columns: each `Column` as a dictionary, and as `chosen` what its field is set to.
    active: number of filters that are set.
    unfiltered: address of the search without them.
    """

    columns: list[dict[str, Any]]
    conditions: str
    min_score: float | None
    fold: float | None
    active: int
    unfiltered: str


class CollectionView(TypedDict):
    """The collection. `advice` is shown for a model that is only good for a demonstration."""

    rows: int
    model: str
    advice: str
    examples: Sequence[Example]


class Shared(TypedDict):
    """What every view has.

    url: permalink of the search.
    words: the text of the search box.
    turn: number of the question that this view answers. It differs each time: Gradio does not send an unchanged value.
    """

    url: str
    words: str
    turn: int
    parts: list[PartView]
    form: FormView
    collection: CollectionView


class EmptyView(Shared):
    """There are no images yet; `command` inserts some."""

    kind: Literal["empty"]
    command: str


class StartView(Shared):
    """Nothing is searched for: some of the images."""

    kind: Literal["start"]
    cards: list[Card]


class ResultsView(Shared):
    """The images found: `nothing` if no image fits the filters.

    appended: whether the cards follow those that the page shows.
    more: offset of the next page of results, 0 if there is none.
    notes: keys of remarks on the texts of the query, with the values of their placeholders.
    """

    kind: Literal["results", "nothing"]
    cards: list[Card]
    appended: bool
    more: int
    embed_ms: float
    search_ms: float
    notes: list[tuple[str, dict[str, str]]]


class ErrorView(Shared):
    """The search failed.

    problem: key of the headline in the locale, with `details` as values for its placeholders.
    message: what the pipelines say; '' if the headline says it all.
    form_kept: whether the form keeps what was filled in, because the mistake is there.
    """

    kind: Literal["error"]
    problem: str
    details: dict[str, str]
    message: str
    form_kept: bool


View = EmptyView | StartView | ResultsView | ErrorView


def shared_view(
    state: SearchState, overview: Overview, hits: Mapping[int | str, Hit | None], thumbs: Mapping[str, str]
) -> Shared:
    """Return what every view has.

    Args:
        hits: the images of the collection in the query, by id.
        thumbs: `data:` URLs of the uploaded images, by key.
    """
    form = fill_form(overview.columns, state.filter, state.filter_text)
    active = len(form.chosen) + sum(map(bool, (form.conditions, state.min_score, state.fold)))
    return {
        "url": state.url, "words": state.words, "turn": 0,
        "parts": _part_views(state, hits, thumbs),
        "form": {
            "columns": [{**asdict(column), "chosen": form.chosen.get(column.name, {})} for column in overview.columns],
            "conditions": form.conditions, "min_score": state.min_score, "fold": state.fold,
            "active": active, "unfiltered": SearchState(state.text, images=state.images).url,
        },
        "collection": {
            "rows": overview.rows, "model": overview.model, "examples": overview.examples,
            "advice": DEMO_ADVICE if overview.model == DEMO_MODEL else "",
        },
    }  # fmt: skip


def empty_view(shared: Shared, command: str) -> EmptyView:
    """Return how to insert the first images."""
    return {**shared, "kind": "empty", "command": command}


def start_view(shared: Shared, state: SearchState, samples: Sequence[Hit]) -> StartView:
    """Return the start page of a collection."""
    return {**shared, "kind": "start", "cards": [_card(hit, state, scored=False) for hit in samples]}


def results_view(shared: Shared, state: SearchState, results: Results, offset: int = 0) -> ResultsView:
    """Return the answer to a search. With an offset its cards follow those that the page shows."""
    reached = offset + len(results.hits)
    return {
        **shared, "collection": {**shared["collection"], "rows": results.rows},
        "kind": "results" if reached else "nothing", "cards": [_card(hit, state) for hit in results.hits],
        "appended": offset > 0, "more": reached if results.has_more and reached < MAX_SHOWN else 0,
        "notes": [(note.key, dict(note.values)) for note in results.notes],
        "embed_ms": _milliseconds(results.embed_seconds),
        "search_ms": _milliseconds(results.search_seconds),
    }  # fmt: skip


def error_view(shared: Shared, problem: str = "error_title", message: str = "", **details: str) -> ErrorView:
    """Return an error: `problem` and `details` as in ErrorView."""
    message = message[:1].upper() + message[1:]
    return {
        **shared, "kind": "error", "problem": problem, "details": details, "message": message, "form_kept": False,
    }  # fmt: skip


def _card(hit: Hit, state: SearchState, scored: bool = True) -> Card:
    given = [(name, value) for name, value in hit.fields.items() if name != "label" and value not in (None, "")]
    return {
        "id": str(row_id(hit.id)),  # JavaScript's numbers have 53 bits
        "label": _label(hit),
        "name": _file_name(hit),
        "score": f"{hit.score:.3f}" if scored else "",
        "alike": hit.folded,
        "fields": [
            (readable(name), value if isinstance(value, bool) else str(value)[:_LONGEST_FIELD]) for name, value in given
        ],
        "similar": state.url_of_similar(hit.id),
        "use": "" if state.is_full else state.url_with_image(hit.id),
    }


def _part_views(state: SearchState, hits: Mapping[int | str, Hit | None], thumbs: Mapping[str, str]) -> list[PartView]:
    views: list[PartView] = []
    for part in state.parts:
        if part.id is None:
            views.append(_part_view(state, len(views), "text", part.weight, part.text))
        else:
            hit = hits.get(part.id)
            name = _label(hit) if hit else str(part.id)
            views.append(_part_view(state, len(views), "like", part.weight, name, f"thumb/{row_id(part.id)}"))
    for key, weight in state.images:
        views.append(_part_view(state, len(views), "image", weight, thumb=thumbs.get(key, "")))
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


def _label(hit: Hit) -> str:
    return readable(str(hit.fields.get("label") or "")) or _file_name(hit)


def _file_name(hit: Hit) -> str:
    return os.path.basename(hit.path).encode(errors="replace").decode()


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000) if seconds >= 0.01 else round(seconds * 1000, 1)
