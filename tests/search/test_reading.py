"""How texts that are not English are read: words, tower and note."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines import Searcher, Settings
from pipelines.errors import InputError
from pipelines.indexing.run import run_insert
from pipelines.models.registry import BUILTIN, get_model
from pipelines.query import Part, Query
from pipelines.search.reading import TextInput, read_query
from tests.support.photos import Photos

CLIP = get_model("clip_vit_base_patch32")


def read(text: str, spec: object = BUILTIN, **options: str) -> tuple[TextInput, list[str]]:
    texts, notes = read_query(Query((Part(text),), **options), spec)  # type: ignore[arg-type]
    return texts[0], [str(note) for note in notes]


def test_english_keeps_its_tower_without_a_word() -> None:
    assert read("a white dog") == (TextInput("own", "a white dog"), [])
    assert read("a white dog", CLIP) == (TextInput("own", "a white dog"), [])
    assert read("Neuschwanstein", CLIP) == (TextInput("own", "Neuschwanstein"), [])


@pytest.mark.parametrize("spec", [BUILTIN, CLIP])
def test_everyday_words_are_translated_for_every_model(spec: object) -> None:
    assert read("Hund", spec) == (TextInput("own", "dog"), ["“Hund” was searched as “dog”"])


def test_other_texts_take_the_multilingual_tower() -> None:
    text = "ein Hund spielt im Schnee"
    assert read(text) == (TextInput("multilingual", text), [f"“{text}” was read by the multilingual text tower"])


def test_a_model_that_does_not_read_the_language_says_so_and_names_the_way_out() -> None:
    tower, (note,) = read("ein Hund spielt im Schnee", CLIP)
    assert tower.tower == "own"
    assert "German" in note
    assert note.endswith("or with --text-model clip-ViT-B-32-multilingual-v1")
    assert read("ein Hund spielt im Schnee", get_model("clip_resnet_r50"))[1][0].endswith("or with --model builtin")
    assert "Greek" in read("σκύλος")[1][0]


def test_a_model_reads_its_own_languages_as_they_are_and_names_them_for_others() -> None:
    multilingual, chinese = get_model("xlm-roberta-base-ViT-B-32"), get_model("chinese-clip-vit-base-patch16")
    assert read("Hund", multilingual) == (TextInput("own", "Hund"), [])
    assert read("猫", chinese) == (TextInput("own", "猫"), [])
    tower, (note,) = read("a white dog", chinese)
    assert (tower, "looks English" in note, note.endswith("it reads zh")) == (
        TextInput("own", "a white dog"),
        True,
        True,
    )


def test_the_given_language_decides_and_an_unknown_one_is_refused() -> None:
    assert read("Hund", language="en") == (TextInput("own", "Hund"), [])
    with pytest.raises(InputError, match="the language is one of"):
        read("Hund", language="xx")


def test_parts_are_read_one_by_one_and_weights_of_ones_own_have_no_second_tower(lite: Settings, photos: Photos) -> None:
    run_insert(photos.csv, lite)
    searcher = Searcher(lite)
    mixed = searcher.search(Query((Part("a beach"), Part("Hund", weight=-1), Part("ein Hund im Schnee")), 3))
    assert [note.key for note in mixed.notes] == ["note_translated", "note_multilingual"]
    assert [hit.id for hit in searcher.by_text("Hund", 5).hits] == [hit.id for hit in searcher.by_text("dog", 5).hits]
    own = Searcher(replace(lite, weights=str(BUILTIN.weights.path)))
    assert [note.key for note in own.by_text("ein Hund im Schnee").notes] == ["note_english_only"]
