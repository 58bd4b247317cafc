"""The search page: its Gradio components, and the handlers that turn a question into a search and a view."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.errors import SearchError, StoreLocked, UnreadableImage
from pipelines.models.registry import get_model
from pipelines.query import Part, Query
from pipelines.search.results import Hit, Results, to_csv, to_json

from .filter_form import read_form
from .library import Library, Overview
from .query_images import QueryImages
from .search_state import PAGE, SearchState, UploadedImage, clean_cosine, clean_text
from .views import Shared, View, empty_view, error_view, results_view, shared_view, start_view

STATIC = Path(__file__).parent / "static"
LOCALES = Path(__file__).parent / "locales"
# Joined in this order.
SCRIPTS = ("texts", "results", "search", "query_parts", "filters", "lightbox", "image", "start")
STYLES = ("frame", "search", "filters", "results", "lightbox", "phone")
# Searches share the model, which answers one call at a time: more threads would only cost memory.
CONCURRENCY = 8
# Uploads are deleted after an hour. QueryImages keeps what the search needs of them.
DELETE_UPLOADS = (600, 3600)  # seconds: how often, and how old
FOLD = 0.95  # cosine of near-duplicates

log = logging.getLogger(__name__)


class Page:
    """The page of one collection. Handlers keep nothing between calls: the address holds the whole state."""

    def __init__(self, library: Library, images: QueryImages | None = None) -> None:
        self._library = library
        self._images = images or QueryImages()

    def build(self) -> gr.Blocks:
        """Build the layout and connect its events."""
        t = translations()
        title = catalogue()["en"]["title"]
        blocks = gr.Blocks(title=title, analytics_enabled=False, delete_cache=DELETE_UPLOADS)
        with blocks:
            gr.HTML(_read("header.html"), apply_default_css=False, js_on_load=None, elem_id="header")
            with gr.Row(elem_id="bar"):
                self._text = gr.Textbox(
                    placeholder=t("text_placeholder"), label=t("text_placeholder"), show_label=False, container=False,
                    max_lines=1, autofocus=True, elem_id="text", scale=1, min_width=120,
                )  # fmt: skip
                gr.HTML(_read("image.html"), apply_default_css=False, js_on_load=None, elem_id="image")
                self._go = gr.Button(t("search"), variant="primary", elem_id="go", scale=0, min_width=96)
            self._results = gr.HTML(
                {"kind": "loading"}, html_template=_read("results.html"), js_on_load=script(),
                apply_default_css=False, elem_id="results",
            )  # fmt: skip
            self._export = gr.Textbox(visible="hidden", elem_id="export")
            self._connect(blocks)
        return blocks

    def _connect(self, blocks: gr.Blocks) -> None:
        """Connect the events. The script sends one question at a time; of several that wait it sends the last.

        Gradio's own option for that, `trigger_mode="always_last"`, loses the data of an event that had to wait.
        """
        options: dict[str, Any] = {
            "show_progress": "hidden", "trigger_mode": "multiple", "concurrency_limit": CONCURRENCY,
            "concurrency_id": "search", "api_visibility": "private",
        }  # fmt: skip
        blocks.load(self.on_load, None, self._results, **options)
        self._results.ask(self.on_ask, None, self._results, **options)
        gr.on([self._text.submit, self._go.click], None, self._text, js="(text) => window.imageSearch.ask({ text })")
        exported = self._results.export(self.on_export, None, self._export, **options)
        exported.then(None, self._export, js="(file) => window.imageSearch.save(file)")

    def on_load(self, request: gr.Request) -> View:
        """Answer the address with which the page was opened."""
        return self._respond(SearchState.from_url(str(request.query_params)), reader=_language(request))

    def on_ask(self, event: gr.EventData, request: gr.Request) -> View:
        """Answer a question: the address of the page, and a new text, image or filter form, or more results."""
        view = self._respond(_state(event), event, _language(request))
        view["turn"] = _whole_number(event, "turn")
        return view

    def on_export(self, event: gr.EventData, request: gr.Request) -> str:
        """Return the results that the page shows as a file: its name, a line break, its content."""
        state = _state(event)
        try:
            results = self._find(state, 0, state.shown, _language(request))
        except SearchError as error:
            raise gr.Error(str(error)) from error
        folded = state.fold is not None
        if getattr(event, "format", "") == "json":
            return f"results.json\n{to_json(results.hits, folded)}"
        names = list(results.hits[0].fields) if results.hits else []
        return f"results.csv\n{to_csv(results.hits, names, folded)}"

    def _respond(self, state: SearchState, event: gr.EventData | None = None, reader: str = "") -> View:
        """Answer a state, or what an event makes of it. Every error becomes a view."""
        overview = Overview()
        try:
            overview = self._library.overview()
            if event is not None:
                state = self._change(state, event, overview)
            return self._answer(state, overview, _whole_number(event, "offset"), reader)
        except UnreadableImage as error:
            return error_view(self._share(state, overview), "error_image", reason=str(error))
        except StoreLocked:  # the collection did not exist when the page started, and an insert is making it
            return error_view(self._share(state, overview), "error_locked")
        except SearchError as error:
            view = error_view(self._share(state, overview), message=str(error))
            view["form_kept"] = hasattr(event, "form")
            return view
        except Exception:
            reference = secrets.token_hex(3)
            log.exception("search failed (reference %s)", reference)
            return error_view(self._share(SearchState(), overview), "error_internal", reference=reference)

    def _change(self, state: SearchState, event: gr.EventData, overview: Overview) -> SearchState:
        """Return the state that an event leads to.

        Raises:
            UnreadableImage: the uploaded image cannot be searched for.
            InputError: the filter form is not valid.
        """
        text, path, form = (getattr(event, name, None) for name in ("text", "path", "form"))
        if isinstance(text, str):
            return state.with_text(clean_text(text))
        if isinstance(path, str):  # an uploaded image starts a new query
            model = get_model(self._library.searcher().settings.model)
            key = self._images.keep(_check_upload(path), model.image_size)
            return state.with_query([], [UploadedImage(key)])
        if not isinstance(form, dict):
            return state
        condition = read_form(overview.columns, _pairs(form.get("columns")), str(form.get("conditions") or ""))
        fold = (state.fold or FOLD) if form.get("fold") is True else None
        return state.with_filter(condition, clean_cosine(form.get("min_score")), fold)

    def _answer(self, state: SearchState, overview: Overview, offset: int, reader: str) -> View:
        """Search for a state, or show what there is while nothing is searched for.

        Raises:
            SearchError: with a message for the person who searches.
        """
        shared = self._share(state, overview)
        if not overview.rows:
            return empty_view(shared, self._library.insert_command)
        if state.is_empty:
            return start_view(shared, state, overview.samples)
        if any(self._images.get(key) is None for key, _ in state.images):
            return error_view(shared, "error_image_gone")
        if not offset:
            return results_view(shared, state, self._find(state, 0, state.shown, reader))
        results = self._find(state, offset, PAGE, reader)
        state = replace(state, shown=offset + len(results.hits))
        return results_view({**shared, "url": state.url}, state, results, offset)

    def _find(self, state: SearchState, offset: int, limit: int, reader: str) -> Results:
        if state.error is not None:
            raise state.error
        uploaded = [Part(image=self._images.get(key), weight=weight) for key, weight in state.images]
        parts = (*state.parts, *uploaded)
        query = Query(parts, limit, offset, state.filter, state.min_score, state.fold, reader=reader)
        return self._library.searcher().search(query)

    def _share(self, state: SearchState, overview: Overview) -> Shared:
        ids = [part.id for part in state.parts if part.id is not None] if overview.rows else []
        hits = {image_id: self._get(image_id) for image_id in ids}
        thumbs = {key: self._images.data_url(key) for key, _ in state.images}
        return shared_view(state, overview, hits, thumbs)

    def _get(self, image_id: int | str) -> Hit | None:
        with contextlib.suppress(SearchError):  # the search itself fails with the same error
            return self._library.searcher().get(image_id)
        return None


def catalogue() -> dict[str, dict[str, str]]:
    """Return the texts of the page by language and key. Keys that end in a plural category come in all four."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(LOCALES.glob("*.json"))}


def translations() -> gr.I18n:
    """Return the texts for Gradio, which takes the language of the browser. The script finds them in its settings."""
    return gr.I18n(**catalogue())


def appearance() -> dict[str, Any]:
    """Return the options of `gr.mount_gradio_app` for style and language."""
    css = "\n".join(_read(f"css/{name}.css") for name in STYLES)
    theme = gr.themes.Base(  # frame.css has the other colours
        primary_hue="teal", neutral_hue="stone",
        # Gradio's wheel lacks the SemiBold files of this font.
        font=[gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    ).set(body_background_fill="#faf9f7", body_background_fill_dark="#141312")  # fmt: skip
    return {"theme": theme, "css": css, "i18n": translations(), "footer_links": []}


def script() -> str:
    """Return the script of the page. It is asynchronous: it first waits for Gradio's components."""
    parts = "\n".join(_read(f"js/{name}.js") for name in SCRIPTS)
    return f"(async () => {{\n{parts}\n}})();"


def _state(event: gr.EventData) -> SearchState:
    url = getattr(event, "address", "")
    return SearchState.from_url(url if isinstance(url, str) else "")


def _language(request: gr.Request) -> str:
    """Return the code of the browser's first language, 'de'."""
    return str(request.headers.get("accept-language", ""))[:2].lower()


def _whole_number(event: gr.EventData | None, name: str) -> int:
    number = getattr(event, name, 0)
    return number if isinstance(number, int) and number > 0 else 0


def _pairs(value: Any) -> dict[str, Any]:
    """Return `[[name, value], …]` as a dictionary, without entries that are not such pairs."""
    pairs = value if isinstance(value, list) else []
    return {
        pair[0]: pair[1] for pair in pairs if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)
    }


def _check_upload(path: str) -> str:
    """Return the path if it is in the folder of uploads. `OnlyUploads` has refused all others; this opens the file.

    Raises:
        UnreadableImage: the file is not an upload.
    """
    folder = os.path.realpath(gr.utils.get_upload_folder())
    if not os.path.realpath(path).startswith(folder + os.sep):
        raise UnreadableImage("it is not an upload")
    return path


def _read(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")
