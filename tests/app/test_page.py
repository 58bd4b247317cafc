"""The page without a browser: uploads, languages, and unexpected errors."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import gradio as gr
import pytest

from app import search_state
from app.api import indexing
from app.appearance import STATIC
from app.library import Library, Overview
from app.page import Page
from app.query_images import QueryImages
from app.questions import check_upload
from app.texts import catalogue
from pipelines import Settings
from pipelines.errors import UnreadableImage
from pipelines.milvus import filter_expression
from pipelines.query import Part, filter_parser, language, query
from pipelines.search import catalog, column_table, embedder, ranking, results

TEXTS = catalogue()
# Texts that are the same in English.
SAME = {
    ("zh", "quoted"),
    ("es", "no"),
    ("fr", "image"),
    *(("fr", f"rows_{form}") for form in ("one", "few", "many", "other")),
}
# Modules that name the texts of notes and errors.
NAMING = (
    results, filter_parser, filter_expression, embedder, ranking, language, query, column_table, indexing,
    catalog,
)  # fmt: skip
_CLIENT = SimpleNamespace(host="127.0.0.1")
REQUEST = cast(gr.Request, SimpleNamespace(headers={"accept-language": "de-DE,de;q=0.9"}, client=_CLIENT))


def test_only_uploads_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second check after that of `Events`, right before the file is opened."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    (tmp_path / "uploads" / "x").mkdir(parents=True)
    inside = tmp_path / "uploads" / "x" / "a.png"
    inside.write_bytes(b"x")
    (tmp_path / "uploads" / "link.png").symlink_to("/etc/passwd")
    assert check_upload(str(inside)) == str(inside)
    for path in ("/etc/passwd", str(tmp_path / "uploads" / ".." / "a.png"), str(tmp_path / "uploads" / "link.png"), "",
                 str(tmp_path / "uploads-of-others" / "a.png")):  # fmt: skip
        with pytest.raises(UnreadableImage, match="not an upload"):
            check_upload(path)


def test_there_are_nine_languages() -> None:
    assert set(TEXTS) == {"en", "de", "es", "fr", "ja", "ko", "ru", "zh", "zh-TW"}


@pytest.mark.parametrize("language", sorted(TEXTS))
def test_each_language_is_complete(language: str) -> None:
    own, english = TEXTS[language], TEXTS["en"]
    assert list(own) == list(english)
    for key, text in own.items():
        assert text.strip() == text != "", key
        assert set(re.findall(r"\{(\w+)\}", text)) == set(re.findall(r"\{(\w+)\}", english[key])), key
        if language != "en" and (language, key) not in SAME:
            assert text != english[key], key


@pytest.mark.parametrize("language", sorted(set(TEXTS) - {"de", "en", "es", "fr"}))
def test_each_language_is_written_in_its_script(language: str) -> None:
    script = {
        "ja": r"[\u3040-\u30ff\u4e00-\u9fff]",
        "ko": r"[\uac00-\ud7a3]",
        "ru": r"[\u0400-\u04ff]",
        "zh": r"[\u4e00-\u9fff]",
        "zh-TW": r"[\u4e00-\u9fff]",
    }
    for key, text in TEXTS[language].items():
        assert re.search(script[language], text) or key == "quoted", key


def test_traditional_chinese_has_no_simplified_characters() -> None:
    simplified = set("图页网张这为减类说词语单发态请输开关闭复链结载夹选择数据没别过还进")
    written = "".join(TEXTS["zh-TW"].values())
    assert simplified & set("".join(TEXTS["zh"].values()))
    assert not simplified & set(written)


def test_the_catalogue_has_exactly_the_texts_that_the_code_names() -> None:
    python = [*STATIC.parent.glob("*.py"), *(Path(module.__file__) for module in NAMING)]
    files = [*STATIC.rglob("*.js"), *STATIC.glob("*.html"), *python]
    code = "".join(path.read_text(encoding="utf-8") for path in files)
    asked = set(re.findall(r'data-(?:text|title|label|placeholder)="(\w+)"', code))
    asked |= set(re.findall(r'\btext\(\s*"(\w+)"', code)) | set(re.findall(r'\bt\("(\w+)"\)', code))
    plurals = {
        f"{name}_{form}" for name in re.findall(r'\bplural\("(\w+)"', code) for form in ("one", "few", "many", "other")
    }
    assert len(asked) > 40
    assert len(plurals) == 20
    assert asked | plurals <= set(TEXTS["en"])
    unused = [key for key in TEXTS["en"] if key not in plurals and f'"{key}"' not in code]
    assert unused == []


def test_a_question_parses_its_text_once(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    parse = search_state.parse_line

    def counted(text: str) -> tuple[Part, ...]:
        parsed.append(text)
        return parse(text)

    monkeypatch.setattr(search_state, "parse_line", counted)
    page = Page(library, QueryImages(tmp_path))
    view = page.on_ask(SimpleNamespace(address="", turn=1, text="a cat"), REQUEST)  # type: ignore[arg-type]
    assert (view["kind"], view["url"], len(view["cards"])) == ("results", "?q=a+cat", 2)  # type: ignore[typeddict-item]
    assert parsed == ["a cat"]


class BrokenLibrary(Library):
    """A library with a bug."""

    def overview(self) -> Overview:
        raise ZeroDivisionError("secret detail")


def test_an_unexpected_error_is_a_reference_into_the_log(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    page = Page(BrokenLibrary(Settings()), QueryImages(tmp_path))
    view = page.on_ask(SimpleNamespace(address="?q=a+cat", turn=3), REQUEST)  # type: ignore[arg-type]
    assert (view["kind"], view["problem"], view["turn"]) == ("error", "error_internal", 3)
    assert "secret" not in str(view)
    assert view["details"]["reference"] in caplog.text
    assert "secret detail" in caplog.text


def test_the_view_says_how_a_text_was_read_and_the_readers_language_decides(library: Library, tmp_path: Path) -> None:
    page = Page(library, QueryImages(tmp_path))
    view = page.on_ask(SimpleNamespace(address="", turn=1, text="Kind"), REQUEST)  # type: ignore[arg-type]
    assert view["notes"] == [("note_translated", {"text": "Kind", "english": "child"})]  # type: ignore[typeddict-item]
