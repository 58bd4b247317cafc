"""Read the events of the page's script. Any client may have written them, so no value is trusted."""

from __future__ import annotations

import os
from typing import Any

import gradio as gr

from pipelines.errors import UnreadableImage
from pipelines.fields import row_id

from .search_state import SearchState


def state_of(event: gr.EventData) -> SearchState:
    """Return the search of the URL from which the event was sent."""
    url = getattr(event, "address", "")
    return SearchState.from_url(url if isinstance(url, str) else "")


def language_of(request: gr.Request) -> str:
    """Return the code of the browser's first language, such as 'de'."""
    return str(request.headers.get("accept-language", ""))[:2].lower()


def whole_number(event: gr.EventData | None, name: str) -> int:
    """Return the whole number above 0 under a name of the event; 0 if there is none."""
    number = getattr(event, name, 0)
    return number if isinstance(number, int) and number > 0 else 0


def ids_of(event: gr.EventData, name: str) -> tuple[int, ...]:
    """Return the ids under a name of the event. They come as strings, because JavaScript's numbers have 53 bits."""
    given = getattr(event, name, None)
    return tuple(row_id(value) for value in given if isinstance(value, str)) if isinstance(given, list) else ()


def pairs(value: Any) -> dict[str, Any]:
    """Return `[[name, value], …]` as a dictionary, and ignore entries that are not such pairs."""
    found = value if isinstance(value, list) else []
    return {
        pair[0]: pair[1] for pair in found if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)
    }


def check_upload(path: str) -> str:
    """Return the path if it is in the folder of uploads. `Events` already refuses others; this is a second check.

    Raises:
        UnreadableImage: the file is not an upload.
    """
    folder = os.path.realpath(gr.utils.get_upload_folder())
    if not os.path.realpath(path).startswith(folder + os.sep):
        raise UnreadableImage("it is not an upload")
    return path
