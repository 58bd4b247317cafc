"""Training data and a small model that the tests of training share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.models.spec import ModelSpec, Weights, card_values
from tests.support.models import VIT, random_network, save
from tests.support.photos import write_csv
from tests.support.training import COLOURS, SHAPES, draw


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw 160 images of 16 combinations, with two captions each in separate rows, and add a file that is no image."""
    random, folder = np.random.default_rng(5), tmp_path_factory.mktemp("drawn")
    rows = [["broken.jpg", "a teal disc"]]
    (folder / "broken.jpg").write_bytes(b"nothing")
    for number in range(160):
        colour, shape = list(COLOURS)[number % 4], SHAPES[number // 4 % 4]
        draw(folder / f"{number}.jpg", colour, shape, random)
        rows += [[f"{number}.jpg", f"a {colour} {shape}"], [f"{number}.jpg", f"{shape} in {colour} on grey"]]
    return write_csv(folder / "captions.csv", ["path", "caption"], rows)


@pytest.fixture(scope="module")
def few(drawn: Path) -> Path:
    """List the first 48 images with one caption each."""
    rows = [line.split(",") for line in drawn.read_text().splitlines()[2:98:2]]
    return write_csv(drawn.with_name("few.csv"), ["path", "caption"], rows)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a ViT as OpenAI builds them, with random weights, in a folder as `train` leaves it."""
    folder = tmp_path_factory.mktemp("tiny")
    save(random_network(VIT), folder / "model.safetensors")
    spec = ModelSpec("tiny", VIT, Weights(""), "none")
    (folder / "model.json").write_text(json.dumps({**card_values(spec), "sha256": "", "licence": "none"}))
    return folder
