"""The texts of the page in all its languages. A browser fetches those of its own language."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import JSONResponse

LOCALES = Path(__file__).parent / "locales"
# The document starts to fetch the texts before the scripts that show them have loaded.
HEAD = """<script>
window.imageSearchTexts = fetch("texts/" + (navigator.language || "en")).then((answer) => answer.json());
</script>"""
_TRADITIONAL = re.compile(r"zh-(hant|tw|hk|mo)", re.IGNORECASE)


@functools.cache
def catalogue() -> dict[str, dict[str, str]]:
    """Return the texts by language and key. A text with a plural has a key for each of four plural categories."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(LOCALES.glob("*.json"))}


def choose_language(tag: str) -> str:
    """Return the page's language for a browser's language tag such as `de-AT`; English if the page lacks it."""
    language = "zh-TW" if _TRADITIONAL.match(tag) else tag.split("-")[0].lower()
    return language if language in catalogue() else "en"


def text_routes() -> APIRouter:
    """Return the route of the texts."""
    router = APIRouter()

    @router.get("/texts/{tag}", include_in_schema=False)
    def texts(tag: str) -> JSONResponse:
        language = choose_language(tag)
        return JSONResponse(
            {"language": language, "texts": catalogue()[language]}, headers={"Cache-Control": "no-cache"}
        )

    return router
