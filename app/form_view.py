"""The filter form as the page shows it: its fields, the active conditions, and suggestions for other values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, TypedDict

from pipelines.query import date_filter
from pipelines.query.order import WORDS, Order
from pipelines.search.facets import Suggestion

from .filter_form import Condition, fill_form, leave_out, replace_value, take_apart
from .form_fields import Chosen, Column
from .library import Example
from .search_state import PAGE, SearchState


class ConditionView(TypedDict):
    """A condition of the filter, and the URL of the search without it.

    column: the field that shows it; '' if none does.
    text: the condition in the filter language; '' for the minimum score.
    """

    column: str
    text: str
    url: str


class FormView(TypedDict):
    """The filter form.

    columns: each `Column` as a dictionary, with the value of its field (`chosen`) and the order by it (`order`), but
        without `choices`: the page fetches them with their counts when the form is opened.
    counted: filter for the images whose values are counted; it includes the dates of the query.
    active: the conditions that are set.
    unfiltered: URL of the search without them.
    """

    columns: list[dict[str, Any]]
    conditions: str
    counted: str
    min_score: float | None
    fold: float | None
    active: list[ConditionView]
    unfiltered: str


class SuggestionView(TypedDict):
    """A value in the filter that no image has, and the URLs of the search with the most similar values instead."""

    value: str
    nearest: list[Example]


def form_view(state: SearchState, columns: Sequence[Column]) -> FormView:
    """Return the filter form of a search."""
    form = fill_form(columns, state.filter, state.filter_text)
    return {
        "columns": [_column_view(column, form.chosen.get(column.name, {})) for column in columns],
        "conditions": form.conditions, "counted": _counted(state), "min_score": state.min_score, "fold": state.fold,
        "active": _condition_views(state, columns),
        "unfiltered": state.with_filter(None, None, state.fold).url,
    }  # fmt: skip


def suggestion_view(state: SearchState, found: Suggestion) -> SuggestionView:
    """Return the view of a suggestion, with links to the corrected searches."""

    def link(text: str) -> Example:
        corrected = state.filter and replace_value(state.filter, found.column, found.value, text)
        return {"text": text, "url": state.with_filter(corrected, state.min_score, state.fold).url}

    return {"value": found.value, "nearest": [link(text) for text in found.nearest]}


def _column_view(column: Column, chosen: Chosen) -> dict[str, Any]:
    given = {name: value for name, value in asdict(column).items() if name != "choices"}
    return {**given, "chosen": chosen, "order": str(Order(column.name, None, column.name in WORDS))}


def _counted(state: SearchState) -> str:
    days = date_filter(state.dates)
    return str(state.filter & days if state.filter and days else days or state.filter_text)


def _condition_views(state: SearchState, columns: Sequence[Column]) -> list[ConditionView]:
    def view(column: Column | None, text: str, others: SearchState) -> ConditionView:
        return {"column": column.name if column else "", "text": text, "url": others.url}

    def without(part: Condition | None) -> SearchState:
        others = leave_out(state.filter, part) if state.filter and part else None
        return state.with_filter(others, state.min_score, state.fold)

    views = [view(part.column, str(part), without(part)) for part in take_apart(columns, state.filter)]
    if state.filter_error:
        views.append(view(None, state.filter_text, without(None)))
    return [*views, view(None, "", replace(state, min_score=None, shown=PAGE))] if state.min_score else views
