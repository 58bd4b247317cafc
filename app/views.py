"""What the page shows, as plain JSON for its script, which puts every value in as text, never as markup.

No words of the page's own: those are the script's, in the reader's language (`locales/`). A problem is a key there.
"""

from __future__ import annotations

import shlex
import time
from typing import Literal, TypedDict

from pipelines.errors import InputError
from pipelines.query import MAX_PARTS, Part, format_query
from pipelines.search.results import Hit, Results
from pipelines.settings import Settings

from .filter_form import Chosen, Column, fill_form
from .library import Library, Overview
from .parts import PartView, file_name_of, name_of, part_views, readable
from .query_images import QueryImages
from .state import MAX_SHOWN, Address

BUILTIN = "builtin"
DEMO_ADVICE = "--model clip_vit_base_patch32"  # set in one piece: browsers break lines after hyphens
CHIPS = 8
_LONGEST = 300  # characters of a field in the lightbox

Kind = Literal["loading", "start", "results", "nothing", "error", "unfilled"]


class Card(TypedDict):
    """One image on the page. `alike` counts the near-duplicates folded into it; `use` is '' where it is used."""

    id: str
    label: str
    name: str
    score: str
    alike: int
    fields: list[tuple[str, str | bool]]
    similar: str
    use: str


class ColumnView(TypedDict):
    """A field of the filter form. `choices` are values and how they read."""

    name: str
    label: str
    kind: str
    choices: list[tuple[str, str]]
    low: float | None
    high: float | None
    anywhere: bool
    chosen: Chosen


class Chip(TypedDict):
    """A search to try."""

    text: str
    url: str


class View(TypedDict):
    """Everything of the page that changes.

    `url` is its permalink, `words` stand in the search box, `turn` is that of the question, and `stamp` makes each
    answer a new one.
    """

    kind: Kind
    url: str
    turn: int
    words: str
    problem: str
    details: dict[str, str]
    message: str
    command: str
    demo: bool
    advice: str
    rows: int
    model: str
    chips: list[Chip]
    parts: list[PartView]
    columns: list[ColumnView]
    conditions: str
    min_score: float | None
    fold: float | None
    active: int
    unfiltered: str
    kept_form: bool
    cards: list[Card]
    appended: bool
    more: int
    embed_ms: float
    search_ms: float
    cut: bool
    stamp: str


class Views:
    """Makes views of one collection."""

    def __init__(self, library: Library, images: QueryImages) -> None:
        self._library, self._images = library, images

    def start(self, address: Address, overview: Overview) -> View:
        """Before anything is asked: some of the images; or how to fill the collection."""
        if not overview.rows:
            view = self._base("unfilled", address, overview)
            view["command"] = _insert_command(self._library.settings)
            return view
        view = self._base("start", address, overview)
        view["cards"] = [make_card(hit, address, scored=False) for hit in overview.samples]
        return view

    def results(self, address: Address, results: Results, overview: Overview, offset: int = 0) -> View:
        """What was found, or that nothing was. With an offset, what follows the results that are there."""
        view = self._base("results" if results.hits or offset else "nothing", address, overview)
        view["cards"] = [make_card(hit, address) for hit in results.hits]
        view["appended"] = offset > 0
        reached = offset + len(results.hits)
        view["more"] = reached if results.has_more and reached < MAX_SHOWN else 0
        view["embed_ms"], view["search_ms"] = map(_milliseconds, (results.embed_seconds, results.search_seconds))
        view["rows"] = results.rows
        view["cut"] = bool(results.notes)
        return view

    def problem(self, address: Address, overview: Overview, problem: str, **details: str) -> View:
        """Something went wrong, as a key of the catalogue and the values in its text."""
        view = self._base("error", address, overview)
        view["problem"], view["details"] = problem, details
        return view

    def error(self, address: Address, overview: Overview, message: str) -> View:
        """Something went wrong, in the words of the pipelines."""
        view = self._base("error", address, overview)
        view["message"] = message[:1].upper() + message[1:]
        return view

    def _base(self, kind: Kind, address: Address, overview: Overview) -> View:
        form = fill_form(overview.columns, address.filter)
        active = form.active + (address.min_score is not None) + (address.fold is not None)
        demo = overview.model == BUILTIN
        return {
            "kind": kind, "url": address.url, "turn": 0, "words": _words(address), "problem": "", "details": {},
            "message": "", "command": "", "demo": demo, "advice": DEMO_ADVICE if demo else "",
            "rows": overview.rows, "model": overview.model,
            "chips": _chips(overview.labels), "parts": part_views(address, self._library, self._images),
            "columns": [_column(column, form.chosen.get(column.name, {})) for column in overview.columns],
            "conditions": form.conditions, "min_score": address.min_score, "fold": address.fold, "active": active,
            "unfiltered": address.unfiltered().url, "kept_form": False, "cards": [], "appended": False, "more": 0,
            "embed_ms": 0, "search_ms": 0, "cut": False, "stamp": str(time.monotonic_ns()),
        }  # fmt: skip


def make_card(hit: Hit, address: Address, scored: bool = True) -> Card:
    """A hit for display. The link to its neighbours leaves the filters behind."""
    given = [(name, value) for name, value in hit.fields.items() if name != "label" and value not in (None, "")]
    me = Part(id=hit.id)
    return {
        "id": str(hit.id),
        "label": name_of(hit),
        "name": file_name_of(hit),
        "score": f"{hit.score:.3f}" if scored else "",
        "alike": hit.folded,
        "fields": [
            (readable(name), value if isinstance(value, bool) else str(value)[:_LONGEST]) for name, value in given
        ],
        "similar": Address(format_query([me]), fold=address.fold).url,
        "use": _using(me, address),
    }


def _using(part: Part, address: Address) -> str:
    try:
        parts = address.parts
    except InputError:
        return ""
    if part.id in [used.id for used in parts] or len(parts) + len(address.images) >= MAX_PARTS:
        return ""
    return address.with_part(part).url


def _column(column: Column, chosen: Chosen) -> ColumnView:
    names = [(value, readable(value) if column.name == "label" else value) for value in column.values]
    return {
        "name": column.name, "label": readable(column.name), "kind": column.kind, "choices": names,
        "low": column.low, "high": column.high, "anywhere": column.anywhere, "chosen": chosen,
    }  # fmt: skip


def _words(address: Address) -> str:
    try:
        return address.words
    except InputError:
        return address.text


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000) if seconds >= 0.01 else round(seconds * 1000, 1)


def _chips(labels: list[str]) -> list[Chip]:
    """Some of the collection's own labels, spread over the alphabet; long ones make poor examples."""
    words = [label for label in map(readable, labels) if 2 < len(label) <= 24]
    step = max(1, len(words) / CHIPS)
    chosen = [words[int(index * step)] for index in range(min(CHIPS, len(words)))]
    return [{"text": word, "url": Address(format_query([Part(word)])).url} for word in chosen]


def _insert_command(settings: Settings) -> str:
    default = Settings()
    command = "python -m pipelines insert photos/"
    if settings.uri != default.uri:
        command += f" --uri {shlex.quote(settings.uri)}"
    if settings.collection != default.collection:
        command += f" --collection {shlex.quote(settings.collection)}"
    return f"{command} --model {settings.model}" if settings.model else command
