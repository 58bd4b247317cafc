"""The options of `image-search train`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.errors import InputError
from pipelines.models.model_folder import model_values
from pipelines.models.registry import BUILTIN
from pipelines.training.options import CONFIGS
from pipelines.training.train import train
from tests.support.training import short_run

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ""}, "--model"), ({"freeze": "both"}, "--freeze"), ({"holdout": 0.0}, "--validation"),
        ({"from_scratch": True}, "--from-scratch"), ({"wise_ft": 1.5}, "--wise-ft"), ({"batch": 1}, "--batch"),
        ({"model": "nothing"}, "no model named"), ({"templates": "a photo"}, "--templates"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_used_are_refused(few: Path, tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(short_run(few, tmp_path / "out", **{"model": "builtin", **changes}))
    assert not (tmp_path / "out").exists()


def test_the_configuration_of_builtin_is_that_of_builtin() -> None:
    values = model_values(json.loads((CONFIGS / "builtin.json").read_text()))
    assert values["architecture"] == BUILTIN.architecture
    assert values["activation"] == BUILTIN.activation


def test_a_configuration_that_has_changed_makes_another_run(few: Path, tmp_path: Path) -> None:
    config = tmp_path / "small.json"
    config.write_text((CONFIGS / "builtin.json").read_text())
    options = short_run(few, tmp_path / "out", model="", from_scratch=True, config=str(config))
    before = options.identity("")
    assert options.identity("") == before
    config.write_text(config.read_text().replace('"image_resolution": 160', '"image_resolution": 96'))
    after = options.identity("")
    assert {name for name in before if before[name] != after[name]} == {"config"}
