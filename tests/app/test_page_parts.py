"""What the page is made of, without a browser: addresses, the filter form, kept images, languages, views."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.filter_form import Column, describe_columns, fill_form, read_form
from app.i18n import FALLBACK, catalogue
from app.query_images import QueryImages
from app.state import MAX_SHOWN, PAGE, Address, QueryImage, parse_id
from pipelines.errors import InputError, UnreadableImage
from pipelines.fetch.read import read_file
from pipelines.fields import Field, FieldType
from pipelines.images.decode import decode
from pipelines.milvus.filter_expression import to_expression
from pipelines.query import Part, parse_filter
from tests.support.page import BIG_ID, HOSTILE_KIND
from tests.support.photos import draw_images

KEY = "0123456789abcdef" * 2
STATIC = Path(__file__).parents[2] / "app" / "static"


# ---- addresses ----


@pytest.mark.parametrize(
    "address",
    [Address(), Address("a & b=c #1 %"), Address("日本 -id:-5", shown=12, filter='label == "a \\"é\\""'),
     Address("", (QueryImage(KEY), QueryImage(KEY, -0.5))), Address("x", min_score=0.25, fold=0.95)],
)  # fmt: skip
def test_address_and_url_spell_each_other(address: Address) -> None:
    assert Address.from_url(address.url) == address


def test_addresses_that_make_no_sense_are_taken_as_not_given() -> None:
    assert Address.from_url("?k=1000000").shown == MAX_SHOWN
    assert Address.from_url("?k=x&min=nan&fold=7&image=..%2Fetc&q=%00a%0a b\ud800").shown == PAGE
    assert Address.from_url("?min=inf&fold=-1") == Address()
    assert Address.from_url(f"?image={KEY}~&image=%2Fetc%2Fpasswd&image={KEY}.png") == Address()
    assert Address.from_url("?" + "&".join(f"q{index}=1" for index in range(100))) == Address()
    assert Address.from_url("?q=" + "a" * 7_000).text == "a" * 2000
    assert parse_id("1e5") is None
    assert parse_id(str(2**63)) is None
    assert parse_id(str(BIG_ID)) == BIG_ID


@pytest.mark.parametrize(
    "words", ["", "a dog", 'wheels & a "seat" = 100%', "beach -people", '2*"red sky" +blue', "-5 °C"]
)
def test_words_are_shown_as_they_were_typed_beside_any_images(words: str) -> None:
    address = Address().with_words(words)
    assert address.words == words
    with_cards = address.with_part(Part(id=7)).with_part(Part(id=-8))
    assert with_cards.words == words
    assert with_cards.with_words("other").words == "other"
    assert [part.id for part in with_cards.parts if part.id is not None] == [7, -8]


def test_parts_are_weighed_and_removed_in_their_order() -> None:
    address = Address("a dog id:7", (QueryImage(KEY),), shown=48)
    assert address.with_weight(0, -1).text == '-"a dog" id:7'
    assert address.with_weight(1, 0.5).text == "a dog 0.5*id:7"
    assert address.with_weight(2, -0.5).images == (QueryImage(KEY, -0.5),)
    assert address.with_weight(2, None).images == ()
    assert address.with_weight(0, None).text == "id:7"
    assert address.with_weight(1, 2).shown == PAGE  # another query: from its first result on


# ---- the filter form ----

FIELDS = (
    Field("label", FieldType.TEXT), Field("year", FieldType.INT, True), Field("rating", FieldType.FLOAT),
    Field("featured", FieldType.BOOL), Field("note", FieldType.TEXT), Field("kind", FieldType.TEXT),
)  # fmt: skip
ROWS = [
    {"id": number, "path": f"/photos/{number % 3}/{number}.jpg", "label": f"label {number % 40}", "rating": number / 10,
     "year": None if number == 0 else 2000 + number % 20, "featured": number % 2 == 0, "note": f"no. {number}",
     "kind": HOSTILE_KIND if number % 2 else "plain"}
    for number in range(100)
]  # fmt: skip
COLUMNS = describe_columns(FIELDS, ROWS, lite=True)


def test_columns_become_fields_of_their_kind() -> None:
    kinds = {column.name: column.kind for column in COLUMNS}
    assert kinds == {
        "label": "many", "year": "number", "rating": "number", "featured": "bool", "note": "text", "kind": "choices",
        "path": "folder",
    }  # fmt: skip
    by_name = {column.name: column for column in COLUMNS}
    assert (by_name["year"].low, by_name["year"].high) == (2000, 2019)
    assert by_name["kind"].values == (HOSTILE_KIND, "plain")
    assert by_name["path"].values == ("/photos/0", "/photos/1", "/photos/2")
    assert describe_columns(FIELDS, [], lite=True)[0].kind == "text"


@pytest.mark.parametrize(
    ("form", "conditions", "text"),
    [
        ({}, "", ""),
        ({"label": {"values": ["label 1"]}}, "", 'label == "label 1"'),
        ({"label": {"values": ["a", 'b" or id > 0']}}, "", r'label in ["a", "b\" or id > 0"]'),
        ({"year": {"low": "2004", "high": "2010"}}, "", "year >= 2004 and year <= 2010"),
        ({"rating": {"low": "1.5"}, "featured": {"values": ["false"]}}, "", "rating >= 1.5 and featured == false"),
        ({"note": {"words": "100%"}, "path": {"words": "/a/b"}}, "", 'note contains "100%" and path under "/a/b"'),
        ({"featured": {"values": ["true", "false"]}}, "", ""),
        ({"year": {"low": "2004"}}, "rating > 3 or not featured",
         "year >= 2004 and (rating > 3 or not (featured == true))"),
    ],
)  # fmt: skip
def test_form_and_filter_spell_each_other(form: dict[str, Any], conditions: str, text: str) -> None:
    written = read_form(COLUMNS, form, conditions)
    assert written == text
    if not text:
        return
    to_expression(parse_filter(text), FIELDS, lite=True)
    filled = fill_form(COLUMNS, text)
    assert read_form(COLUMNS, filled.chosen, filled.conditions) == text
    assert set(filled.chosen) == set(form)
    assert bool(filled.conditions) == bool(conditions)


@pytest.mark.parametrize("text", ["year > 2000", 'label != "a"', "year >= 1 and year >= 2", "nonsense (", "id == 5"])
def test_what_no_field_can_say_stays_a_condition(text: str) -> None:
    assert text.split(" and ")[-1] in fill_form(COLUMNS, text).conditions


def test_server_texts_are_matched_from_their_start() -> None:
    columns = describe_columns(FIELDS, ROWS, lite=False)
    text = read_form(columns, {"note": {"words": "no. 1"}}, "")
    assert text == 'note startswith "no. 1"'
    assert fill_form(columns, text).chosen == {"note": {"words": "no. 1"}}


@pytest.mark.parametrize("form", [{"year": {"low": "old"}}, {"rating": {"high": "1e"}}])
def test_numbers_that_are_none_are_named(form: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="is no number for the column"):
        read_form(COLUMNS, form, "")


@pytest.mark.parametrize(
    "form", [{"year": "2004"}, {"label": {"values": "a"}}, {"label": {"values": [1, None]}}, {"x": {}}]
)
def test_forms_nobody_made_are_empty(form: dict[str, Any]) -> None:
    assert read_form(COLUMNS, form, "  ") == ""


def test_large_whole_numbers_keep_their_digits() -> None:
    column = Column("n", "number", FieldType.INT)
    text = read_form([column], {"n": {"low": str(2**60 + 1)}}, "")
    assert text == f"n >= {2**60 + 1}"
    assert fill_form([column], text).chosen == {"n": {"low": str(2**60 + 1)}}


# ---- images that somebody brought along ----


def test_kept_image_is_what_the_model_saw(tmp_path: Path) -> None:
    (path,) = draw_images(tmp_path, 1, (300, 200))
    images = QueryImages(tmp_path / "kept")
    key = images.keep(str(path), 64)
    kept = images.get(key)
    assert kept is not None
    assert np.array_equal(decode(kept, size=64), decode(read_file(path), size=64))
    assert images.keep(str(path), 64) == key
    assert images.data_url(key).startswith("data:image/webp;base64,")
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0
    assert not list((tmp_path / "kept").glob("*.part"))


def test_oldest_kept_images_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.query_images.MOST_KEPT", 2)
    images = QueryImages(tmp_path / "kept")
    keys = [images.keep(str(path), 32) for path in draw_images(tmp_path, 3)]
    assert [images.get(key) is None for key in keys] == [True, False, False]
    assert images.data_url(keys[0]) == ""


def test_only_uploads_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the guard before the application: a path from a client is not a path until this says so."""
    from app.page import _upload

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    (tmp_path / "uploads" / "x").mkdir(parents=True)
    inside = tmp_path / "uploads" / "x" / "a.png"
    inside.write_bytes(b"x")
    (tmp_path / "uploads" / "link.png").symlink_to("/etc/passwd")
    assert _upload(str(inside)) == str(inside)
    for path in ("/etc/passwd", str(tmp_path / "uploads" / ".." / "a.png"), str(tmp_path / "uploads" / "link.png"), "",
                 str(tmp_path / "uploads-of-others" / "a.png")):  # fmt: skip
        with pytest.raises(UnreadableImage, match="no upload"):
            _upload(path)


# ---- languages ----

TEXTS = catalogue()
# The same in two languages for good reason: notation, or a word that both have.
SAME = {("zh", "quoted")}


def test_there_are_six_languages() -> None:
    assert set(TEXTS) == {"en", "de", "ja", "ko", "ru", "zh"}


@pytest.mark.parametrize("language", sorted(TEXTS))
def test_language_is_complete(language: str) -> None:
    own, english = TEXTS[language], TEXTS[FALLBACK]
    assert list(own) == list(english)
    for key, text in own.items():
        assert text.strip() == text != "", key
        assert set(re.findall(r"\{(\w+)\}", text)) == set(re.findall(r"\{(\w+)\}", english[key])), key
        if language != FALLBACK and (language, key) not in SAME:
            assert text != english[key], key


@pytest.mark.parametrize("language", sorted(set(TEXTS) - {"de", "en"}))
def test_language_is_written_in_its_script(language: str) -> None:
    script = {
        "ja": r"[\u3040-\u30ff\u4e00-\u9fff]",
        "ko": r"[\uac00-\ud7a3]",
        "ru": r"[\u0400-\u04ff]",
        "zh": r"[\u4e00-\u9fff]",
    }
    for key, text in TEXTS[language].items():
        assert re.search(script[language], text) or key == "quoted", key


def test_texts_that_are_asked_for_are_those_there_are() -> None:
    page, cards = STATIC.parent / "page.py", STATIC.parent / "cards.py"
    files = [*STATIC.rglob("*.js"), *STATIC.glob("*.html"), page, cards]
    code = "".join(path.read_text(encoding="utf-8") for path in files)
    asked = set(re.findall(r'data-(?:text|title|label|placeholder)="(\w+)"', code))
    asked |= set(re.findall(r'\btext\(\s*"(\w+)"', code)) | set(re.findall(r'\bt\("(\w+)"\)', code))
    plurals = {
        f"{name}_{form}" for name in re.findall(r'\bplural\("(\w+)"', code) for form in ("one", "few", "many", "other")
    }
    assert len(asked) > 40
    assert len(plurals) == 12
    assert asked | plurals <= set(TEXTS[FALLBACK])
    unused = [key for key in TEXTS[FALLBACK] if key not in plurals and f'"{key}"' not in code]
    assert unused == []


# ---- when things go wrong ----


class BrokenLibrary:
    """Fails as no collection should."""

    def overview(self) -> None:
        raise ZeroDivisionError("secret detail")


def test_unexpected_error_is_a_reference_into_the_log(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    from app.page import Page

    page = Page(BrokenLibrary(), QueryImages(tmp_path))  # type: ignore[arg-type]
    view = page.on_ask(SimpleNamespace(address="?q=a+cat", turn=3))  # type: ignore[arg-type]
    assert (view["kind"], view["problem"], view["turn"]) == ("error", "error_internal", 3)
    assert "secret" not in str(view)
    assert view["details"]["reference"] in caplog.text
    assert "secret detail" in caplog.text
