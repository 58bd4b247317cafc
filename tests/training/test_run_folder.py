"""The folder of a run, and that of the model it wrote."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from pipelines.errors import InputError, ModelError
from pipelines.models.clip import load_model
from pipelines.models.registry import get_model
from pipelines.training.train import train
from tests.support.training import short_run

pytestmark = pytest.mark.usefixtures("one_thread")


def test_other_options_are_refused_until_restart(few: Path, tiny: Path, tmp_path: Path) -> None:
    wanted = short_run(few, tmp_path / "out", model=str(tiny), epochs=1)
    train(wanted)
    other = dataclasses.replace(wanted, lr=1e-4)
    with pytest.raises(InputError, match=r"lr 0\.001 → 0\.0001.*--restart"):
        train(other)
    assert train(other, restart=True).card is not None
    full = tmp_path / "full"
    full.mkdir()
    (full / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="no training run made it"):
        train(dataclasses.replace(wanted, out=str(full)))
    with pytest.raises(InputError, match="no training run made it"):
        train(dataclasses.replace(wanted, out=str(full)), restart=True)
    assert (full / "letter.txt").exists()


def test_damaged_model_folders_are_told(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model folder"):
        get_model(str(tmp_path / "none"))
    with pytest.raises(ModelError, match=r"holds no model\.json"):
        get_model(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    for text, reason in (("{", "describe"), ("[]", "describe"), ("{}", "sha256")):
        (tmp_path / "model.json").write_text(text)
        with pytest.raises(ModelError, match=reason):
            get_model(str(tmp_path))
    card = json.loads((tiny / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**card, "sha256": "0" * 64}))
    with pytest.raises(ModelError, match="not the file"):
        load_model(str(tmp_path))
