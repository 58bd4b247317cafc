"""The search page: its Gradio components, and the handlers that turn an event into a search and a view."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from pipelines.errors import SearchError
from pipelines.fields import row_id
from pipelines.models.registry import get_model
from pipelines.query import MAX_LIMIT, MAX_PARTS, Part, Query
from pipelines.search.results import Hit, Results, to_csv, to_json

from .appearance import read_static, script
from .filter_form import read_form
from .given_image import split_addresses
from .library import Library, Overview
from .problems import Problem, explain
from .query_images import QueryImages
from .questions import check_upload, ids_of, language_of, pairs, state_of, whole_number
from .search_state import FOLD, SearchState, clean_cosine, clean_text
from .texts import catalogue, choose_language
from .views import Shared, View, empty_view, error_view, results_view, shared_view, start_view

# Searches share the model, which answers one call at a time. More threads would only take memory.
CONCURRENCY = 8
# Seconds between deletions of uploads, and the age at which they are deleted. QueryImages keeps what searches need.
DELETE_UPLOADS = (600, 3600)
FURTHER, MAX_FURTHER = 72, 480  # results that scrolling loads at a time
MAX_RETURN = 5_000  # results that are loaded at once when the reader returns to a page after scrolling

log = logging.getLogger(__name__)


class Page:
    """The page of one collection. Handlers store nothing between calls, because the URL contains the whole state."""

    def __init__(self, library: Library, images: QueryImages | None = None) -> None:
        self._library = library
        self._images = images or QueryImages()

    def build(self) -> gr.Blocks:
        """Build the layout and connect its events."""
        english = catalogue()["en"]  # shown until the script has loaded
        blocks = gr.Blocks(title=english["title"], analytics_enabled=False, delete_cache=DELETE_UPLOADS)
        with blocks:
            gr.HTML(read_static("header.html"), apply_default_css=False, js_on_load=None, elem_id="header")
            with gr.Row(elem_id="bar"):
                self._text = gr.Textbox(
                    label=english["text_placeholder"], show_label=False, container=False,
                    max_lines=1, autofocus=True, elem_id="text", scale=1, min_width=120,
                )  # fmt: skip
                gr.HTML(read_static("image.html"), apply_default_css=False, js_on_load=None, elem_id="image")
                self._go = gr.Button("", variant="primary", elem_id="go", scale=0, min_width=96)
            self._results = gr.HTML(
                {"kind": "loading"}, html_template=read_static("results.html"), js_on_load=script(),
                apply_default_css=False, elem_id="results",
            )  # fmt: skip
            self._export = gr.Textbox(visible="hidden", elem_id="export")
            self._connect(blocks)
        return blocks

    def _connect(self, blocks: gr.Blocks) -> None:
        """Connect the events. The script sends one event at a time. If several wait, it sends only the last one.

        Gradio has an option for that, `trigger_mode="always_last"`, but it loses the data of an event that had to wait.
        """
        options: dict[str, Any] = {
            "show_progress": "hidden", "trigger_mode": "multiple", "concurrency_limit": CONCURRENCY,
            "concurrency_id": "search", "api_visibility": "private",
        }  # fmt: skip
        blocks.load(self.on_load, None, self._results, **options)
        self._results.ask(self.on_ask, None, self._results, **options)
        gr.on([self._text.submit, self._go.click], None, self._text, js="window.imageSearch.submit")
        exported = self._results.export(self.on_export, None, self._export, **options)
        exported.then(None, self._export, js="(file) => window.imageSearch.save(file)")

    def on_load(self, request: gr.Request) -> View:
        """Answer the URL with which the page was opened."""
        with self._library.answering():
            state = SearchState.from_url(str(request.query_params))
            return self._respond(state, reader=language_of(request), client=request.client.host)

    def on_ask(self, event: gr.EventData, request: gr.Request) -> View:
        """Answer an event, which contains the URL of the page and a change of the search or an offset."""
        with self._library.answering():
            view = self._respond(state_of(event), event, language_of(request), request.client.host)
        view["turn"] = whole_number(event, "turn")
        return view

    def on_export(self, event: gr.EventData, request: gr.Request) -> str:
        """Return the results that the page shows, or only the selected `ids`, as a file.

        The file is one text: its name, a line break, its content. For an error, the name is empty, and the content is
        JSON: the key of a text of the page and the values of its placeholders.
        """
        state, chosen, form = state_of(event), ids_of(event, "ids"), getattr(event, "format", "")
        try:
            with self._library.answering():
                hits = self._shown(state, whole_number(event, "shown"), chosen, language_of(request))
        except SearchError as error:
            problem = explain(error)
            return f"\n{json.dumps([problem.key, dict(problem.values)])}"
        folded = state.fold is not None
        if form == "paths":
            return "\n".join(["paths.txt", *(hit.path.encode(errors="replace").decode() for hit in hits)])
        if form == "json":
            return f"{_file_name(state)}.json\n{to_json(hits, folded)}"
        return f"{_file_name(state)}.csv\n{to_csv(hits, list(hits[0].fields) if hits else [], folded)}"

    def _shown(self, state: SearchState, count: int, chosen: Sequence[int], reader: str) -> list[Hit]:
        """Return the first `count` results of a state, or only the chosen ones among them."""
        if state.is_empty:  # the start page shows images that are not results
            return [hit for image_id in chosen if (hit := self._get(image_id))]
        hits = self._find(state, 0, min(max(state.shown, count), MAX_LIMIT), reader).hits
        return [hit for hit in hits if row_id(hit.id) in chosen] if chosen else hits

    def _respond(
        self, state: SearchState, event: gr.EventData | None = None, reader: str = "", client: str = ""
    ) -> View:
        """Answer a state, or the state that an event changes it to. Every error becomes a view."""
        overview = Overview()
        try:
            overview = self._library.overview()
            if event is not None:
                state = self._change(state, event, overview, client)
            if overview.rows:
                self._fetch_missing(state, client)
            return self._answer(state, overview, event, reader)
        except SearchError as error:
            return error_view(self._share(state, overview), explain(error, choose_language(reader) == "en"))
        except Exception:
            reference = secrets.token_hex(3)
            log.exception("search failed (reference %s)", reference)
            return error_view(self._share(SearchState(), overview), Problem("error_internal", {"reference": reference}))

    def _change(self, state: SearchState, event: gr.EventData, overview: Overview, client: str) -> SearchState:
        """Return the state to which an event leads.

        Raises:
            UnreadableImage: an image cannot be searched for.
            InputError: the filter form is not valid, or the query is full.
        """
        if like := ids_of(event, "like"):
            sample = like[:: -(-len(like) // MAX_PARTS)]
            return state.with_query([Part(id=image_id) for image_id in sample], [])
        text, path, form, sort = (getattr(event, name, None) for name in ("text", "path", "form", "sort"))
        if isinstance(text, str):
            state = self._with_text(state, clean_text(text), client)
        if isinstance(path, str):
            state = state.with_image(self._keep(check_upload(path), client))
        if isinstance(sort, str):
            state = state.with_order(sort)
        if not isinstance(form, dict):
            return state
        conditions, parse = str(form.get("conditions") or ""), self._library.searcher().parse_filter
        condition = read_form(overview.columns, pairs(form.get("columns")), conditions, parse)
        fold = (state.fold or FOLD) if form.get("fold") is True else None
        return state.with_filter(condition, clean_cosine(form.get("min_score")), fold)

    def _with_text(self, state: SearchState, text: str, client: str) -> SearchState:
        """Replace the words. Web addresses become images; images that no longer exist are removed from the query."""
        words, addresses = split_addresses(text)
        unknown = [part.id for part in state.parts if part.id is not None and self._get(part.id) is None]
        kept = tuple(image for image in state.images if self._images.get(image.key) is not None)
        state = replace(state.without_ids(unknown).with_text(words), images=kept)
        for address in addresses:
            self._keep(address, client)
            state = state.with_image(address)
        return state

    def _fetch_missing(self, state: SearchState, client: str) -> None:
        """Fetch the web images of a state that this page has not fetched yet, or no longer keeps."""
        for image in state.images:
            if image.is_web and self._images.get(image.key) is None:
                self._keep(image.name, client)

    def _keep(self, path: str, client: str) -> str:
        settings = self._library.searcher().settings
        return self._images.keep(path, get_model(settings.model).fit, settings.allow_private_urls, client)

    def _answer(self, state: SearchState, overview: Overview, event: gr.EventData | None, reader: str) -> View:
        """Return the results of a state, or the start page if there is nothing to search for.

        An event may have an `offset`; its results are then appended to those that the page shows. Or it may have the
        number of results that were `shown` before the reader left the page.

        Raises:
            SearchError: with a message for the user.
        """
        shared = self._share(state, overview)
        if not overview.rows:
            return empty_view(shared, self._library.insert_command)
        if state.is_empty:
            if not overview.is_complete:
                self._library.check_columns()
            return start_view(shared, state, overview.samples)
        if any(self._images.get(image.key) is None for image in state.images):
            return error_view(shared, Problem("error_image_gone"))
        offset = whole_number(event, "offset")
        if not offset:
            limit = max(state.shown, min(whole_number(event, "shown"), MAX_RETURN))
            offer = self._library.searcher().offer_dates(state.text, reader)
            return results_view(shared, state, self._find(state, 0, limit, reader), offer=offer)
        # Load more at a time the further the reader has scrolled.
        limit = min(max(FURTHER, offset // 4), MAX_FURTHER)
        if state.parts or state.images:
            limit = min(limit, MAX_LIMIT - offset)
        return results_view(shared, state, self._find(state, offset, limit, reader), offset)

    def _find(self, state: SearchState, offset: int, limit: int, reader: str) -> Results:
        if state.error is not None:
            raise state.error
        uploaded = [Part(image=self._images.get(image.key), weight=image.weight) for image in state.images]
        parts = (*state.parts, *uploaded)
        query = Query(
            parts, limit, offset, state.filter, state.min_score, state.fold, reader=reader, order=state.order,
            dates=state.dates,
        )  # fmt: skip
        return self._library.searcher().search(query)

    def _share(self, state: SearchState, overview: Overview) -> Shared:
        ids = [part.id for part in state.parts if part.id is not None] if overview.rows else []
        hits = {image_id: self._get(image_id) for image_id in ids}
        thumbs = {image.key: self._images.data_url(image.key) for image in state.images}
        return shared_view(state, overview, hits, thumbs)

    def _get(self, image_id: int | str) -> Hit | None:
        with contextlib.suppress(SearchError):  # the search itself fails with the same error
            return self._library.searcher().get(image_id)
        return None


def _file_name(state: SearchState) -> str:
    return re.sub(r"\W+", "-", state.words[:60]).strip("-") or "images"
