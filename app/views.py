"""What the page shows, as JSON for its script. The script inserts every value as text, never as markup.

Views hold data only. The words around it are in `locales/`; a view names them by their keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

from pipelines.query.date_words import Offer
from pipelines.query.order import RELEVANCE
from pipelines.search.results import Hit, Results
from pipelines.settings import DEFAULT_MODEL

from .cards import Card, card_view
from .form_view import FormView, SuggestionView, form_view, suggestion_view
from .library import Example, Overview
from .parts_view import PartView, part_views
from .problems import Problem
from .search_state import SearchState

DEMO_MODEL = "builtin"
DEMO_ADVICE = f"--model {DEFAULT_MODEL}"


class OfferView(TypedDict):
    """A date in words, and the address of the search that is filtered by it instead."""

    words: str
    url: str


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
    dates: those of the query, as they are written: `taken:2021-05`.
    sort: the order as `parse_order` reads it; '' is relevance.
    turn: number of the question that this view answers. It differs each time: Gradio does not send an unchanged value.
    """

    url: str
    words: str
    sort: str
    turn: int
    dates: list[str]
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
    total: number of images that the filter leaves.
    above: number of images of at least the smallest score; None without one.
    age: seconds since the columns that filtered and ordered the images were known to be up to date.
    offer: a date in words that the text perhaps means.
    suggestions: values of the filter that no image has, each with links to the nearest ones.
    notes: keys of remarks on the texts of the query, with the values of their placeholders.
    """

    kind: Literal["results", "nothing"]
    cards: list[Card]
    appended: bool
    more: int
    notes: list[tuple[str, dict[str, str]]]
    total: int
    above: int | None
    age: float
    suggestions: list[SuggestionView]
    offer: OfferView | None


class ErrorView(Shared):
    """The search failed.

    problem: key of the headline in the locale, with `details` as values for its placeholders.
    message: what the pipelines say; '' if the headline says it all.
    place: the field with the mistake, as in `Problem`. The page then keeps what it shows.
    passes: whether it ends without the reader. The page then keeps what it shows, and asks again.
    """

    kind: Literal["error"]
    problem: str
    details: dict[str, str]
    message: str
    place: str
    passes: bool


View = EmptyView | StartView | ResultsView | ErrorView


def shared_view(
    state: SearchState, overview: Overview, hits: Mapping[int | str, Hit | None], thumbs: Mapping[str, str]
) -> Shared:
    """Return what every view has.

    Args:
        hits: the images of the collection in the query, by id.
        thumbs: `data:` URLs of the uploaded images, by key.
    """
    return {
        "url": state.url, "words": state.words, "sort": state.order, "turn": 0,
        "dates": list(state.dates),
        "parts": part_views(state, hits, thumbs),
        "form": form_view(state, overview.columns),
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
    return {**shared, "kind": "start", "cards": [card_view(hit, state, scored=False) for hit in samples]}


def results_view(
    shared: Shared, state: SearchState, results: Results, offset: int = 0, offer: Offer | None = None
) -> ResultsView:
    """Return the answer to a search. With an offset its cards follow those that the page shows."""
    reached = offset + len(results.hits)
    return {
        **shared, "collection": {**shared["collection"], "rows": results.rows},
        "sort": state.order or ("" if results.order == RELEVANCE else results.order),
        "kind": "results" if reached else "nothing", "cards": [card_view(hit, state) for hit in results.hits],
        "appended": offset > 0, "more": reached if results.has_more else 0,
        "notes": [(note.key, dict(note.values)) for note in results.notes],
        "total": results.total, "above": results.above, "age": results.age,
        "suggestions": [suggestion_view(state, found) for found in results.suggestions],
        "offer": {"words": offer.words, "url": state.with_line(offer.line).url} if offer else None,
    }  # fmt: skip


def error_view(shared: Shared, problem: Problem) -> ErrorView:
    """Return an error."""
    return {
        **shared, "kind": "error", "problem": problem.key, "details": dict(problem.values), "message": problem.detail,
        "place": problem.place, "passes": problem.passes,
    }  # fmt: skip
