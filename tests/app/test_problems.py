"""How the page reports errors: a sentence in each language for each kind of error, and the place where it appears."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import pytest

from app.library import Library
from app.page import Page
from app.problems import explain
from app.query_images import QueryImages
from app.texts import catalogue
from pipelines.errors import ForkedProcess, InputError, SearchError, UnreadableImage, WrongType
from pipelines.fetch.read import read_file

TEXTS = catalogue()
_CLIENT = SimpleNamespace(host="127.0.0.1")


def kinds(root: type[SearchError] = SearchError) -> Iterator[type[SearchError]]:
    for kind in root.__subclasses__():
        if kind.__module__ == "pipelines.errors":
            yield kind
            yield from kinds(kind)


@pytest.mark.parametrize("kind", sorted(set(kinds()), key=lambda kind: kind.__name__))
def test_each_kind_of_error_has_a_sentence_in_each_language(kind: type[SearchError]) -> None:
    told = explain(kind("no such thing"))
    assert "{" not in TEXTS["en"][told.key]
    if kind not in (InputError, WrongType, ForkedProcess):  # of many causes, or of the program itself
        assert told.key not in ("error_query", "error_title") or kind.__name__ == "UnknownImage"
    assert told.detail in ("", "No such thing")
    assert explain(kind("no such thing"), reads_english=True).detail == "No such thing"


@pytest.mark.parametrize(
    ("address", "key", "place", "detail"),
    [
        ("q=a&filter=year+%3E", "error_filter", "conditions", "Expected a text in quotes, a number, a date, true or"),
        ("q=a&filter=yeer+%3E+2", "error_no_column", "conditions", ""),
        ("q=a&filter=path+%3E+2", "error_condition", "conditions", "Column 'path' holds text, not 2"),
        ("q=a&sort=yeer", "error_no_column", "text", ""),
        ("q=9999*a", "error_weight", "text", ""),
        ("q=id:12345", "error_unknown_image", "text", ""),
        ("q=a+-a", "error_cancelled", "text", ""),
    ],
)
def test_mistakes_are_told_where_they_are(
    library: Library, tmp_path: Path, address: str, key: str, place: str, detail: str
) -> None:
    view = load(library, tmp_path, address)
    assert (view["kind"], view["problem"], view["place"]) == ("error", key, place)
    assert view["message"].startswith(detail)
    assert bool(view["message"]) == bool(detail)
    assert "undefined" not in TEXTS["de"][key].format(**view["details"])


def load(library: Library, tmp_path: Path, address: str) -> Any:
    headers = {"accept-language": "de-DE,de;q=0.9"}
    request = SimpleNamespace(query_params=address, headers=headers, client=_CLIENT)
    return Page(library, QueryImages(tmp_path)).on_load(cast(gr.Request, request))


def test_an_address_tells_why_its_image_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    told = {}
    for address in ("http://127.0.0.1:9/a.png", "http://nowhere.invalid/a.png", tmp_path / "broken.png"):
        with pytest.raises(UnreadableImage) as caught:
            QueryImages(tmp_path / "kept").keep(str(address), 32)
        told[str(address)[:16]] = explain(caught.value).key
    assert list(told.values()) == ["error_private_address", "error_address", "error_image"]
    with open(tmp_path / "large.png", "wb") as file:
        file.truncate(2**26 + 1)
    with pytest.raises(UnreadableImage) as caught:
        read_file(tmp_path / "large.png")
    assert explain(caught.value).key == "error_too_large"
