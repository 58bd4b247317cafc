"""The page's texts in every language: `locales/*.json`, read by Gradio for its components and by the page's script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio as gr

LOCALES = Path(__file__).parent / "locales"
FALLBACK = "en"


def catalogue() -> dict[str, dict[str, str]]:
    """Texts by language and key. Keys that end in a plural category (`_one`, `_few`, …) come in all four."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(LOCALES.glob("*.json"))}


def translations() -> gr.I18n:
    """For Gradio, which takes the browser's language, or English; `static/js/texts.js` finds them in Gradio's
    configuration, so that there is one list and one choice."""
    import gradio as gr

    return gr.I18n(**catalogue())
