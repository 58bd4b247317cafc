"""The markup, styles and script of the page, which it adds to Gradio's components."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gradio as gr
from jinja2 import FunctionLoader

from .texts import HEAD

STATIC = Path(__file__).parent / "static"


# The files of static/js, joined in this order.
SCRIPTS = (
    "texts", "grid", "select", "results", "search", "connection", "query_parts", "suggestions", "filters", "lightbox",
    "zoom", "image", "indexing",
    "start",
)  # fmt: skip

# Gradio's meta tags for link previews, except the one with the title of the page.
_CARD = re.compile(r"<meta\s(?![^>]*config\['title'\])[^>]*\"(?:og|twitter):[^>]*>")

STYLES = ("frame", "search", "filters", "results", "select", "lightbox", "phone")


def appearance() -> dict[str, Any]:
    """Return the options of `gr.mount_gradio_app` for style and texts."""
    css = "\n".join(read_static(f"css/{name}.css") for name in STYLES)
    theme = gr.themes.Base(  # the other colours are in frame.css
        primary_hue="teal", neutral_hue="stone",
        # Gradio's wheel lacks the SemiBold files of this font.
        font=[gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    ).set(body_background_fill="#faf9f7", body_background_fill_dark="#141312")  # fmt: skip
    return {"theme": theme, "css": css, "head": HEAD, "footer_links": []}


def leave_out_cards() -> None:
    """Remove Gradio's own name, text and image from the document. Messengers would show them beside a link to it."""
    env = gr.routes.templates.env
    loader = env.loader
    assert loader is not None
    env.loader = FunctionLoader(lambda name: _CARD.sub("", loader.get_source(env, name)[0]))


def script() -> str:
    """Return the script of the page. It is asynchronous, because it first waits for Gradio's components."""
    parts = "\n".join(read_static(f"js/{name}.js") for name in SCRIPTS)
    return f"(async () => {{\n{parts}\n}})();"


def read_static(name: str) -> str:
    """Return the text of a file in `static/`."""
    return (STATIC / name).read_text(encoding="utf-8")
