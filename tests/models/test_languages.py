"""Which language a text is in, and what its everyday words are in English."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from pipelines.models.languages import read_text


@pytest.mark.parametrize(
    ("text", "language", "english"),
    [
        ("a white dog", "en", "a white dog"),
        ("wombat", "en", "wombat"),
        ("Hund", "de", "dog"),
        ("Leuchtturm", "de", "lighthouse"),
        ("aéroport", "fr", "airport"),
        ("köprü", "tr", "bridge"),
        ("猫", "zh", "cat"),
        ("犬", "zh", "dog"),
        ("собака", "ru", "dog"),
        ("고양이", "ko", "cat"),
        ("gato", "es", "cat"),
        ("สุนัข", "th", "dog"),
        ("كلب", "ar", "dog"),
        ("黑狗", "zh", "black dog"),
        ("ein Hund spielt im Schnee", "de", ""),
        ("二匹の子犬が雪の中で遊んでいる", "ja", ""),
        ("σκύλος", "el", ""),
        ("Neuschwanstein", "", ""),
        ("photo of Schloss Neuschwanstein at night", "en", "photo of Schloss Neuschwanstein at night"),
        ("IMG 1234", "", ""),
        ("42", "en", "42"),
    ],
)
def test_letters_and_words_tell_the_language(text: str, language: str, english: str) -> None:
    assert read_text(text) == (language, english)


def test_no_english_caption_is_taken_for_another_language(shared_csv: Path) -> None:
    with (shared_csv.parents[1] / "flickr8k_test" / "captions.csv").open(encoding="utf-8") as file:
        captions = [row["caption"] for row in csv.DictReader(file)]
    assert len(captions) > 4_000
    assert [caption for caption in captions if read_text(caption).language != "en"] == []


def test_the_readers_language_decides_on_words_that_english_has_as_well() -> None:
    assert read_text("Kind") == ("en", "Kind")
    assert read_text("Kind", reader="de") == ("de", "child")
    assert read_text("white dog", reader="de").language == "en"
    assert read_text("犬", reader="ja") == ("ja", "dog")


def test_a_given_language_decides() -> None:
    assert read_text("Kind", language="de-AT") == ("de", "child")
    assert read_text("Hund", language="en") == ("en", "Hund")
