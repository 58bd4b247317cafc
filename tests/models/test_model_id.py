"""Model ids: which rows a collection accepts, and which model a command uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import Settings
from pipelines.models.model_id import fingerprint_of, is_compatible, name_of, resolve_model


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
    ],
)
def test_a_collection_accepts_rows_of_equal_weights(stored: str, ours: str, compatible: bool) -> None:
    assert is_compatible(stored, ours) is compatible


def test_the_requested_model_comes_first_then_the_collections_own_then_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_model(Settings(model="builtin"), "other@1").model == "builtin"
    assert resolve_model(Settings(), "other@1").model == "other"
    assert resolve_model(Settings()).model == "clip_vit_base_patch32"
    assert resolve_model(Settings(model="./mine")).model == str(tmp_path / "mine")
