"""What the page shows, as JSON for its script. The script inserts every value as text, never as markup.

Views contain only data. The texts around the data are in `locales/`, and a view refers to them by their keys.
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
    """A date in words, and the URL of the search that filters by it instead."""

    words: str
    url: str


class CollectionView(TypedDict):
    """The collection. `advice` is shown if the model is good only for demonstrations."""

    rows: int
    model: str
    advice: str
    examples: Sequence[Example]


class Shared(TypedDict):
    """What all views have.

    url: permalink of the search.
    words: the text of the search box.
    dates: the dates of the query in the query language: `taken:2021-05`.
    sort: the order in the form that `parse_order` parses; '' is relevance.
    turn: number of the event that this view answers. It makes each view differ, because Gradio does not send an
        unchanged value.
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
    """The collection has no images yet. `command` inserts some."""

    kind: Literal["empty"]
    command: str


class StartView(Shared):
    """The start page, without a search: some of the images."""

    kind: Literal["start"]
    cards: list[Card]


class ResultsView(Shared):
    """The images found. The kind is `nothing` if there are none.

    appended: whether the page adds the cards after those that it shows.
    more: offset of the next page of results; 0 if there is none.
    total: number of images that match the filter.
    above: number of images with at least the minimum score; None without one.
    age: seconds since the columns used to filter and order the images were known to be up to date.
    offer: a date in words that the text may mean.
    suggestions: values in the filter that no image has, each with links to the most similar values.
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

    problem: key of the headline in the locale, with `details` as the values of its placeholders.
    message: the error's own message; '' if the headline is enough.
    place: the field that contains the mistake, as in `Problem`. The page then keeps the results that it shows.
    passes: whether the error ends without action by the reader. The page then keeps its results and tries again.
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
    """Return what all views have.

    Args:
        hits: the images of the collection in the query, by id.
        thumbs: `data:` URLs of the images provided by the reader, by key.
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
    """Return the view of a collection without images."""
    return {**shared, "kind": "empty", "command": command}


def start_view(shared: Shared, state: SearchState, samples: Sequence[Hit]) -> StartView:
    """Return the start page of a collection."""
    return {**shared, "kind": "start", "cards": [card_view(hit, state, scored=False) for hit in samples]}


def results_view(
    shared: Shared, state: SearchState, results: Results, offset: int = 0, offer: Offer | None = None
) -> ResultsView:
    """Return the view of results. With an offset, the page adds its cards after those that it shows."""
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
    """Return the view of an error."""
    return {
        **shared, "kind": "error", "problem": problem.key, "details": dict(problem.values), "message": problem.detail,
        "place": problem.place, "passes": problem.passes,
    }  # fmt: skip
