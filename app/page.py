"""The page: its layout, and handlers that turn what is on it into a query and the answer into a view."""

from __future__ import annotations

import logging
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.errors import SearchError, StoreLocked
from pipelines.images.decode import UnreadablePicture, read_file

from .cards import TITLE, View, error_view, readable, results_view, start_view, unfilled_view
from .library import Library, Overview
from .query import DEFAULT_LIMIT, Query, clamp_limit, clean_text, parse_id

STATIC = Path(__file__).parent / "static"
LIMITS = [12, 24, 48, 96]
ANY_LABEL = "All labels"
# A search is mostly one model call, which runs alone; more than a few waiting in threads only cost memory.
CONCURRENCY = 8
# Uploads are deleted after an hour.
UPLOADS_KEPT = (600, 3600)

log = logging.getLogger(__name__)


class Page:
    """Builds the page for one collection. The handlers keep nothing between calls: the address is the state."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def build(self) -> gr.Blocks:
        """The layout with its events."""
        with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=UPLOADS_KEPT) as blocks:
            gr.HTML(_read("header.html"), apply_default_css=False, js_on_load=None, elem_id="header")
            with gr.Row(elem_id="panel", equal_height=True):
                with gr.Column(elem_id="asking", min_width=280):
                    with gr.Row(elem_id="bar"):
                        self._text = gr.Textbox(
                            placeholder="Describe a picture", show_label=False, container=False, max_lines=1,
                            autofocus=True, label="Describe a picture", elem_id="text", scale=1, min_width=120,
                        )  # fmt: skip
                        self._go = gr.Button("Search", variant="primary", elem_id="go", scale=0, min_width=96)
                    with gr.Row(elem_id="filters"):
                        self._label = gr.Dropdown(
                            [(ANY_LABEL, "")], value="", label="Label", elem_id="label", visible=False, min_width=150
                        )
                        self._limit = gr.Dropdown(
                            _limit_choices(DEFAULT_LIMIT), value=DEFAULT_LIMIT, label="Results", elem_id="limit",
                            filterable=False, min_width=110,
                        )  # fmt: skip
                self._picture = gr.Image(
                    type="filepath", image_mode=None, sources=["upload"], show_label=False, buttons=[],
                    label="Search with a picture", placeholder="# Search with a picture\ndrop, paste or click",
                    elem_id="picture", height=116, scale=0, min_width=260, alt_text="The picture you search with",
                )  # fmt: skip
                # Gradio would open the upload with Pillow, any of its formats, and fail with a traceback.
                self._picture.preprocess = _uploaded_path  # type: ignore[method-assign]
            self._results = gr.HTML(
                _loading(), html_template=_read("results.html"), js_on_load=_read("page.js"), apply_default_css=False,
                elem_id="results",
            )  # fmt: skip
            self._like = gr.Textbox(visible="hidden", elem_id="like")
            self._connect(blocks)
        return blocks

    def _connect(self, blocks: gr.Blocks) -> None:
        """Events. All searches share one limit, and of several from one page only the last counts."""
        options: dict[str, Any] = {
            "show_progress": "hidden", "trigger_mode": "always_last", "concurrency_limit": CONCURRENCY,
            "concurrency_id": "search", "api_visibility": "private",
        }  # fmt: skip
        form = [self._text, self._picture, self._like, self._limit, self._label]
        everything = [*form, self._results]
        busy = "(...values) => { document.body.classList.add('searching'); return values }"
        asked = [self._text.submit, self._go.click, self._limit.input, self._label.input]
        gr.on(asked, self.on_form, form, everything, js=busy, **options)
        uploaded = [self._picture, self._limit, self._label]
        self._picture.upload(self.on_picture, uploaded, everything, js=busy, **options)
        self._results.navigate(self.on_navigate, None, everything, **options)
        blocks.load(self.on_load, None, everything, **options)

    def on_load(self, request: gr.Request) -> list[Any]:
        """The page was opened: runs the search its address asks for."""
        return self._show(Query.from_params(dict(request.query_params)))

    def on_navigate(self, event: gr.EventData) -> list[Any]:
        """A link of ours was followed, or the back button."""
        address = getattr(event, "address", "")
        return self._show(Query.from_url(address if isinstance(address, str) else ""))

    def on_form(self, text: str, picture: str | None, like: str, limit: int, label: str | None) -> list[Any]:
        """Search was pressed, or the filters changed. Words come before a picture, which comes before neighbours."""
        words = clean_text(text)
        if not words and picture:
            return self.on_picture(picture, limit, label)
        wanted = None if words else parse_id(like or "")
        return self._show(Query(words, wanted, None, clamp_limit(limit), clean_text(label)))

    def on_picture(self, picture: str | None, limit: int, label: str | None) -> list[Any]:
        """A picture was dropped, pasted or chosen."""
        query = Query(limit=clamp_limit(limit), label=clean_text(label))
        if not picture:
            return self._show(query)
        try:
            query = Query(picture=read_file(picture), limit=query.limit, label=query.label)
        except UnreadablePicture as error:
            return self._outputs(query, error_view(query, f"the picture cannot be searched for: {error}"), Overview())
        return self._show(query)

    def _show(self, query: Query) -> list[Any]:
        """Runs a query; whatever happens, the page gets an answer it can show."""
        overview = Overview()
        try:
            overview = self._library.overview()
            if not overview.labels:  # nothing to filter by, whatever the address says
                query = replace(query, label="")
            view = self._answer(query, overview)
        except StoreLocked:  # it was not there when the page started: an insert is making it
            view = error_view(query, "another process is filling the collection; reload this page when it is done")
        except SearchError as error:
            view = error_view(query, str(error), overview)
        except Exception:
            reference = secrets.token_hex(3)
            log.exception("search failed (reference %s)", reference)
            view = error_view(query, f"something went wrong; the log says more under reference {reference}", overview)
        return self._outputs(query, view, overview)

    def _answer(self, query: Query, overview: Overview) -> View:
        if not overview.rows:
            return unfilled_view(query, self._library.settings)
        if query.is_empty:
            return start_view(query, overview, self._library.settings)
        like = self._library.get(query.like) if query.like is not None else None
        return results_view(query, self._library.find(query), overview, like)

    def _outputs(self, query: Query, view: View, overview: Overview) -> list[Any]:
        """Values for text, picture, like, limit, label and results, in that order."""
        names = sorted({*overview.labels, query.label} - {""})  # an address may name one beyond those listed
        labels = [(ANY_LABEL, ""), *((readable(name), name) for name in names)]
        return [
            query.text,
            gr.skip() if query.picture is not None else None,
            "" if query.like is None else str(query.like),
            gr.update(choices=_limit_choices(query.limit), value=query.limit),
            gr.update(choices=labels, value=query.label, visible=bool(overview.labels)) if overview.rows else gr.skip(),
            view,
        ]


def theme() -> gr.themes.Base:
    """Fonts that the wheel has complete (its SemiBold files are not), and colours from page.css."""
    return gr.themes.Base(
        primary_hue="teal", neutral_hue="stone",
        font=[gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    ).set(body_background_fill="#faf9f7", body_background_fill_dark="#141312")  # fmt: skip


def _uploaded_path(payload: Any) -> str | None:
    """Where the upload lies; Gradio has made sure by now that it is one."""
    return payload.path if payload else None


def _limit_choices(limit: int) -> list[int]:
    return sorted({*LIMITS, limit})


def _loading() -> dict[str, str]:
    return {"kind": "loading", "stamp": ""}


def _read(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")
