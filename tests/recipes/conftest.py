"""Images and a trained image tower that the tests of the recipe share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recipes.builtin import data, image_tower
from tests.support.recipe import SEED, build, short_stage, word_bank, write_photos


@pytest.fixture(scope="session")
def photos_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw images with labels and captions."""
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder)
    return folder


@pytest.fixture(scope="session")
def photos(photos_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> data.Photos:
    """Return the images as the stages see them."""
    work = tmp_path_factory.mktemp("prepared")
    data.prepare(photos_dir, work)
    return data.load(work)


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which a finished stage leaves its result."""
    return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="module")
def learned(photos: data.Photos, stages: Path, one_thread: None) -> image_tower.ImageStudent:
    """Return an image tower after forty small steps, which are made once."""
    student = image_tower.train(build(SEED), photos, word_bank(photos), short_stage(), stages, SEED)
    assert (stages / "image_tower.pt").exists()
    again = image_tower.train(build(SEED), photos, word_bank(photos), short_stage(), stages, SEED)
    assert torch.equal(again.map.weight, student.map.weight)
    return student.eval()
