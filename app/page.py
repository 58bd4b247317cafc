"""The page: its few Gradio components, and handlers that turn an address into a query and the answer into a view."""

from __future__ import annotations

import logging
import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.errors import SearchError, StoreLocked, UnreadableImage
from pipelines.query import Part, Query
from pipelines.search.results import Results, to_csv, to_json

from .filter_form import read_form
from .i18n import catalogue, translations
from .library import Library, Overview
from .query_images import QueryImages
from .state import PAGE, Address, QueryImage, clean_cosine, clean_text
from .views import View, Views

STATIC = Path(__file__).parent / "static"
# Joined in this order; each opens with what it is for.
SCRIPTS = ("texts", "answers", "asking", "parts", "filters", "lightbox", "image", "start")
STYLES = ("frame", "asking", "filters", "results", "lightbox", "phone")
# A search is mostly one model call, which runs alone; more than a few waiting in threads only cost memory.
CONCURRENCY = 8
# Uploads are deleted after an hour: what is kept of an image is in QueryImages.
UPLOADS_KEPT = (600, 3600)
FOLD = 0.95
EXPORTS = ("csv", "json")

log = logging.getLogger(__name__)


class Page:
    """Builds the page for one collection. The handlers keep nothing between calls: the address is the state."""

    def __init__(self, library: Library, images: QueryImages | None = None) -> None:
        self._library = library
        self._images = images or QueryImages()
        self._views = Views(library, self._images)

    def build(self) -> gr.Blocks:
        """The layout with its events."""
        t = translations()
        title = catalogue()["en"]["title"]
        with gr.Blocks(title=title, analytics_enabled=False, delete_cache=UPLOADS_KEPT) as blocks:
            gr.HTML(_read("header.html"), apply_default_css=False, js_on_load=None, elem_id="header")
            with gr.Row(elem_id="bar"):
                self._text = gr.Textbox(
                    placeholder=t("text_placeholder"), label=t("text_placeholder"), show_label=False, container=False,
                    max_lines=1, autofocus=True, elem_id="text", scale=1, min_width=120,
                )  # fmt: skip
                gr.HTML(_read("image.html"), apply_default_css=False, js_on_load=None, elem_id="image")
                self._go = gr.Button(t("search"), variant="primary", elem_id="go", scale=0, min_width=96)
            self._results = gr.HTML(
                {"kind": "loading", "stamp": ""}, html_template=_read("results.html"), js_on_load=script(),
                apply_default_css=False, elem_id="results",
            )  # fmt: skip
            self._export = gr.Textbox(visible="hidden", elem_id="export")
            self._connect(blocks)
        return blocks

    def _connect(self, blocks: gr.Blocks) -> None:
        """Events. The script sends every search as one kind of event, one after the other, of those waiting the last.

        Gradio's own way to that, `trigger_mode="always_last"`, forgets what came with an event that had to wait.
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
        """The page was opened: runs the search its address asks for."""
        return self._respond(Address.from_pairs(request.query_params.multi_items()))

    def on_ask(self, event: gr.EventData) -> View:
        """Something was asked of the page at an address: another text, an image, other filters, more results."""
        view = self._respond(_address(event), event)
        view["turn"] = _whole(event, "turn")
        return view

    def on_export(self, event: gr.EventData) -> str:
        """The results that the page shows, as a file: its name, a line break, its content."""
        address, wanted = _address(event), getattr(event, "format", "")
        kind = wanted if wanted in EXPORTS else "csv"
        try:
            results = self._find(address, 0, address.shown)
        except SearchError as error:
            raise gr.Error(str(error)) from error
        folded = address.fold is not None
        if kind == "json":
            return f"results.json\n{to_json(results.hits, folded)}"
        names = list(results.hits[0].fields) if results.hits else []
        return f"results.csv\n{to_csv(results.hits, names, folded)}"

    def _respond(self, address: Address, event: gr.EventData | None = None) -> View:
        """Answers an address, or what an event makes of it; whatever happens, the page gets something to show."""
        overview = Overview()
        try:
            overview = self._library.overview()
            if event is None:
                return self._answer(address, overview)
            address = self._changed(address, event, overview)
            return self._answer(address, overview, _whole(event, "offset"))
        except UnreadableImage as error:
            return self._views.problem(address, overview, "error_image", reason=str(error))
        except StoreLocked:  # it was not there when the page started: an insert is making it
            return self._views.problem(address, overview, "error_locked")
        except SearchError as error:
            view = self._views.error(address, overview, str(error))
            view["kept_form"] = hasattr(event, "form")
            return view
        except Exception:
            reference = secrets.token_hex(3)
            log.exception("search failed (reference %s)", reference)
            return self._views.problem(Address(), overview, "error_internal", reference=reference)

    def _changed(self, address: Address, event: gr.EventData, overview: Overview) -> Address:
        """The address that an event leads to.

        Raises:
            UnreadableImage: the image cannot be searched for.
            InputError: the text or the form cannot be understood.
        """
        text, path, form = (getattr(event, name, None) for name in ("text", "path", "form"))
        if isinstance(text, str):  # words join the images that are there
            return address.with_words(clean_text(text))
        if isinstance(path, str):  # a new image is a new search
            key = self._images.keep(_upload(path), self._library.image_size)
            return address.asking([], [QueryImage(key)])
        if not isinstance(form, dict):
            return address
        filter_text = read_form(overview.columns, _pairs(form.get("columns")), str(form.get("conditions") or ""))
        fold = (address.fold or FOLD) if form.get("fold") is True else None
        score = clean_cosine(form.get("min_score"))
        return replace(address, filter=filter_text, min_score=score, fold=fold, shown=PAGE)

    def _answer(self, address: Address, overview: Overview, offset: int = 0) -> View:
        if not overview.rows or address.is_empty:
            return self._views.start(address, overview)
        if any(self._images.get(key) is None for key, _ in address.images):
            return self._views.problem(address, overview, "error_image_gone")
        if not offset:
            return self._views.results(address, self._find(address, 0, address.shown), overview)
        results = self._find(address, offset, PAGE)
        address = replace(address, shown=offset + len(results.hits))
        return self._views.results(address, results, overview, offset)

    def _find(self, address: Address, offset: int, limit: int) -> Results:
        brought = [Part(image=self._images.get(key), weight=weight) for key, weight in address.images]
        parts = (*address.parts, *brought)
        return self._library.find(Query(parts, limit, offset, address.filter or None, address.min_score, address.fold))


def appearance() -> dict[str, Any]:
    """What `gr.mount_gradio_app` has to know about looks and languages."""
    css = "\n".join(_read(f"css/{name}.css") for name in STYLES)
    return {"theme": theme(), "css": css, "i18n": translations(), "footer_links": []}


def theme() -> gr.themes.Base:
    """Fonts that the wheel has complete (its SemiBold files are not), and colours from frame.css."""
    return gr.themes.Base(
        primary_hue="teal", neutral_hue="stone",
        font=[gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    ).set(body_background_fill="#faf9f7", body_background_fill_dark="#141312")  # fmt: skip


def script() -> str:
    """The page's script. Asynchronous: it begins by waiting for what it works with."""
    parts = "\n".join(_read(f"js/{name}.js") for name in SCRIPTS)
    return f"(async () => {{\n{parts}\n}})();"


def _address(event: gr.EventData) -> Address:
    address = getattr(event, "address", "")
    return Address.from_url(address if isinstance(address, str) else "")


def _whole(event: gr.EventData, name: str) -> int:
    number = getattr(event, name, 0)
    return number if isinstance(number, int) and number > 0 else 0


def _pairs(value: Any) -> dict[str, Any]:
    """`[[name, value], …]` as a dictionary, without what is no such pair."""
    pairs = value if isinstance(value, list) else []
    return {
        pair[0]: pair[1] for pair in pairs if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)
    }


def _upload(path: str) -> str:
    """The path, if it is an upload's. `security.OnlyUploads` has refused others by now; a file is opened here.

    Raises:
        UnreadableImage: it is another file.
    """
    folder = os.path.realpath(gr.utils.get_upload_folder())
    if not os.path.realpath(path).startswith(folder + os.sep):
        raise UnreadableImage("it is no upload")
    return path


def _read(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")
