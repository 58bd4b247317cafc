"""The demo's own images are found in an installed package, indexed and found again; its model's card is current."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks import card
from benchmarks.sample import QUERIES, load_builder, ranks
from pipelines import Searcher, Settings, run_insert
from pipelines.models.clip import load_model


@pytest.fixture
def searcher(lite: Settings, tmp_path: Path) -> Searcher:
    table = tmp_path / "sample.csv"
    rows = load_builder().build_sample(table)  # type: ignore[attr-defined]
    assert run_insert(table, lite).inserted == rows
    return Searcher(lite)


def test_every_sample_has_a_label_and_an_attribution(tmp_path: Path) -> None:
    load_builder().build_sample(tmp_path / "sample.csv")  # type: ignore[attr-defined]
    with open(tmp_path / "sample.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "path", "label", "attribution"]
    assert all(row["label"] and row["attribution"] and Path(row["path"]).is_file() for row in rows)


def test_words_find_the_sample_images(searcher: Searcher) -> None:
    """At least 7 in 10 of the queries bring their image within the first three."""
    found = ranks(searcher)
    assert sum(rank <= 3 for rank in found.values()) >= 0.7 * len(QUERIES), found


def test_each_sample_image_finds_itself_first(searcher: Searcher) -> None:
    for row in searcher.collection.query("id > 0", ["id", "path"], limit=100):
        best = searcher.by_image(row["path"], 1).hits[0]
        assert best.id == row["id"]
        assert best.score > 0.999


def test_the_figures_in_the_model_card_are_of_the_weights_that_ship() -> None:
    text = card.CARD.read_text(encoding="utf-8")
    printed = text.partition(card.BEGIN)[2].partition(card.END)[0]
    assert printed.count(load_model("builtin").model_id) >= len(card.SETS)


def test_new_figures_take_the_place_of_the_old_ones_in_the_card() -> None:
    once = card.put(f"before {card.BEGIN} old {card.END} after", "new")
    assert once.partition(card.BEGIN)[0] == "before "
    assert "new" in once
    assert "old" not in once
    assert card.put(once, "new") == once
    with pytest.raises(ValueError, match="the model card has no"):
        card.put("a card without marks", "new")
