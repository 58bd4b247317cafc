"""Model ids: which rows a collection accepts, and which model a command uses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pipelines import Searcher, Settings, run_insert
from pipelines.errors import ModelMismatch
from pipelines.models.clip import load_model
from pipelines.models.model_id import fingerprint_of, is_compatible, make_model_id, name_of, resolve_model
from pipelines.models.registry import get_model, list_models
from pipelines.models.spec import ModelSpec, Weights, card_values
from tests.support.models import VIT, random_network, save
from tests.support.photos import Photos


def test_a_model_id_holds_the_name_and_the_start_of_the_hash() -> None:
    assert name_of("builtin@0123456789ab") == "builtin"
    assert fingerprint_of("builtin@0123456789ab") == "0123456789ab"
    assert name_of("") == ""


@pytest.mark.parametrize(
    ("stored", "ours", "compatible"),
    [
        ("", "a@1", True),
        ("a@1", "a@1", True),
        ("a@1", "a@2", False),
        ("a@1", "b@1", False),
        ("/old/place@1", "/new/place@1", True),
        ("/old/place@1", "/new/place@2", False),
        ("a@1", "/new/place@1", False),
        ("/old/place@1-a", "/new/place@1-a", True),
        ("/place@1-a", "/place@1-b", False),
        ("/place@1", "/place@1-b", True),  # of version 0.1
        ("/place@1", "/place@2-b", False),
        ("/pla-ce@1", "/pla-ce@1-b", True),
    ],
)
def test_a_collection_accepts_rows_of_equal_weights_and_recipe(stored: str, ours: str, compatible: bool) -> None:
    assert is_compatible(stored, ours) is compatible


RECIPES_OF_01 = {
    "builtin": "0f79966b",
    "clip_vit_base_patch32": "c4922125",
    "clip_vit_base_patch16": "045ee73a",
    "clip_vit_large_patch14": "3be4f058",
    "clip_vit_large_patch14_336": "7c085bcc",
    "clip_vit_base_patch32_laion2b": "73d1c6de",
    "clip_vit_base_patch16_laion2b": "ce451252",
    "clip_vit_base_patch32_datacomp": "73d1c6de",
    "clip_vit_base_patch16_datacomp": "ce451252",
    "clip_resnet_r50": "b86aa11b",
    "clip_resnet_r101": "513384bf",
    "clip_resnet_r50x4": "499886e0",
    "clip_resnet_r50x16": "0f069e65",
    "clip_resnet_r50x64": "bd748dfe",
}


def test_a_known_model_keeps_the_id_that_it_had_in_version_01() -> None:
    """A known model whose embeddings change has to get another name."""
    assert {name: get_model(name).recipe for name in RECIPES_OF_01} == RECIPES_OF_01
    for spec in list_models():
        assert make_model_id(spec.name, "0123456789abcdef", spec.recipe) == f"{spec.name}@0123456789ab"


@pytest.mark.long
@pytest.mark.parametrize(
    "edit", [{"activation": "gelu"}, {"mean": [0.5, 0.5, 0.5]}, {"std": [0.25, 0.25, 0.25]}, {"note": "mine"}]
)
def test_an_edited_model_json_is_another_model(
    edit: dict[str, Any], lite: Settings, photos: Photos, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    save(random_network(VIT), folder / "model.safetensors")
    card = {**card_values(ModelSpec("mine", VIT, Weights(""), "")), "sha256": "", "licence": "none"}
    (folder / "model.json").write_text(json.dumps(card))
    settings = dataclasses.replace(lite, model=str(folder))
    run_insert(photos.csv, settings)
    hits = Searcher(settings).by_text("a dog").hits
    load_model.cache_clear()
    (folder / "model.json").write_text(json.dumps({**card, **edit}))
    if "note" in edit:  # changes nothing
        assert run_insert(photos.csv, settings).unchanged == 12
        assert Searcher(settings).by_text("a dog").hits == hits
        return
    with pytest.raises(
        ModelMismatch, match=r"its model\.json was edited since\): use the model as it was then"
    ) as error:
        Searcher(settings).by_text("a dog")
    assert "\n" not in str(error.value)
    with pytest.raises(ModelMismatch, match=r"its model\.json was edited since.*--reembed"):
        run_insert(photos.csv, settings)
    assert run_insert(photos.csv, settings, reembed=True).inserted == 12
    assert Searcher(settings).by_text("a dog").hits != hits


def test_the_requested_model_comes_first_then_the_collections_own_then_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_model(Settings(model="builtin"), "other@1").model == "builtin"
    assert resolve_model(Settings(), "other@1").model == "other"
    assert resolve_model(Settings()).model == "clip_vit_base_patch32_laion2b"
    assert resolve_model(Settings(model="./mine")).model == str(tmp_path / "mine")
