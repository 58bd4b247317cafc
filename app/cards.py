"""Hits and messages as plain JSON for the page's script, which puts every value in as text, never as markup."""

from __future__ import annotations

import os
import shlex
import time
from dataclasses import replace
from typing import Literal, TypedDict

from pipelines.search import Hit, Results
from pipelines.settings import Settings

from .library import Overview
from .query import Query

TITLE = "Image search"
BUILTIN = "builtin"
DEMO_NOTICE = f"“{BUILTIN}” is a small demo model. For real use, index with "
DEMO_ADVICE = "--model clip_vit_base_patch32"  # set in one piece: browsers break lines after hyphens
CHIPS = 8

Kind = Literal["loading", "start", "results", "nothing", "error", "unfilled"]


class Card(TypedDict):
    """One picture on the page."""

    id: str
    label: str
    name: str
    alt: str
    score: str
    similar: str


class Chip(TypedDict):
    """A search to try."""

    text: str
    url: str


class View(TypedDict):
    """Everything of the page that changes. `url` is its permalink, `stamp` makes each answer a new one."""

    kind: Kind
    url: str
    title: str
    status: str
    message: str
    command: str
    notice: str
    advice: str
    rows: str
    model: str
    chips: list[Chip]
    cards: list[Card]
    stamp: str


def start_view(query: Query, overview: Overview, settings: Settings) -> View:
    """Before anything is asked: what this is, and some of its pictures; or how to fill it."""
    if not overview.rows:
        return unfilled_view(query, settings)
    view = _base("start", query, overview)
    view["status"] = f"Describe what you are looking for, or drop a picture. Some of the {_rows(overview.rows)}:"
    view["cards"] = [make_card(hit, query, scored=False) for hit in overview.samples]
    return view


def unfilled_view(query: Query, settings: Settings) -> View:
    """There is no collection: the command that makes one."""
    view = _base("unfilled", query, Overview())
    view["message"] = "There are no pictures here yet"
    view["command"] = _insert_command(settings)
    return view


def results_view(query: Query, results: Results, overview: Overview, like: Hit | None = None) -> View:
    """What was found, or that nothing was. `like` is the picture whose neighbours these are."""
    subject = _subject(query, like)
    view = _base("results" if results.hits else "nothing", query, overview)
    view["title"] = f"{query.text or subject} – {TITLE}"
    if not results.hits:
        view["message"] = f"No pictures {subject}"
        return view
    milliseconds = max(1, round(results.seconds * 1000))
    view["status"] = f"{len(results.hits):,} of {_rows(overview.rows)} {subject} · {milliseconds} ms"
    view["cards"] = [make_card(hit, query) for hit in results.hits]
    return view


def error_view(query: Query, message: str, overview: Overview | None = None) -> View:
    """Something went wrong, in words for the person in front of the page."""
    view = _base("error", query, overview or Overview())
    view["message"] = message[:1].upper() + message[1:]
    return view


def make_card(hit: Hit, query: Query, scored: bool = True) -> Card:
    """A hit for display. The link to its neighbours keeps the number of results, and leaves the label behind."""
    name = os.path.basename(hit.path).encode(errors="replace").decode()
    label = readable(str(hit.fields.get("label") or ""))
    return {
        "id": str(hit.id),
        "label": label or name,
        "name": name,
        "alt": label or name,
        "score": f"{hit.score:.3f}" if scored else "",
        "similar": replace(query, text="", picture=None, like=hit.id, label="").url,
    }


def readable(label: str) -> str:
    """A class name as words: data sets write `brain_coral`."""
    return label.replace("_", " ").strip()


def _base(kind: Kind, query: Query, overview: Overview) -> View:
    demo = overview.model == BUILTIN
    return {
        "kind": kind, "url": query.url, "title": TITLE, "status": "", "message": "", "command": "",
        "notice": DEMO_NOTICE if demo else "", "advice": DEMO_ADVICE if demo else "",
        "rows": _rows(overview.rows), "model": overview.model, "chips": _chips(overview.labels), "cards": [],
        "stamp": str(time.monotonic_ns()),
    }  # fmt: skip


def _rows(rows: int) -> str:
    return f"{rows:,} {'picture' if rows == 1 else 'pictures'}" if rows else ""


def _chips(labels: list[str]) -> list[Chip]:
    """Some of the collection's own labels, spread over the alphabet; long ones make poor examples."""
    words = [label for label in map(readable, labels) if 2 < len(label) <= 24]
    step = max(1, len(words) / CHIPS)
    chosen = [words[int(index * step)] for index in range(min(CHIPS, len(words)))]
    return [{"text": word, "url": Query(text=word).url} for word in chosen]


def _subject(query: Query, like: Hit | None) -> str:
    label = f" labelled “{readable(query.label)}”" if query.label else ""
    if query.like is not None:
        name = make_card(like, query)["label"] if like else query.like
        return f"like “{name}”{label}"
    if query.picture is not None:
        return f"like yours{label}"
    return f"for “{query.text}”{label}"


def _insert_command(settings: Settings) -> str:
    default = Settings()
    command = "python -m pipelines insert photos/"
    if settings.uri != default.uri:
        command += f" --uri {shlex.quote(settings.uri)}"
    if settings.collection != default.collection:
        command += f" --collection {shlex.quote(settings.collection)}"
    return f"{command} --model {settings.model}" if settings.model else command
