"""The image tower learns from labels and captions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recipes.builtin import data, image_tower
from tests.support.recipe import word_bank

pytestmark = pytest.mark.usefixtures("one_thread")


def test_caption_loss_counts_equal_texts_as_right() -> None:
    vectors = torch.eye(4)
    numbers = torch.tensor([5, 5, 8])
    images, told = vectors[[0, 0, 1]], vectors[[0, 0, 1]]
    scale = torch.tensor(50.0)
    twins = image_tower.caption_loss(images, told, numbers, scale)
    # Two of three images have two right answers of equal score: their least loss is the entropy of a fair coin.
    assert twins == pytest.approx(2 / 3 * math.log(2), abs=1e-3)
    swapped = image_tower.caption_loss(images, told.flip(0), numbers, scale)
    assert swapped > 10
    extra = torch.cat([told, vectors[[0]]])
    assert image_tower.caption_loss(images, extra, torch.tensor([5, 5, 8, 9]), scale) > twins + 0.1


@pytest.mark.slow
def test_image_tower_learns_colours(learned: image_tower.ImageStudent, photos: data.Photos) -> None:
    bank = word_bank(photos)
    rows = np.flatnonzero(photos.labels >= 0)
    images = image_tower.embed_with(learned.images, learned.visual, photos, rows)
    with torch.inference_mode():
        guessed = (images @ learned.texts(bank.labels[0]).T).argmax(1).numpy()
    assert (guessed == photos.labels[rows]).mean() > 0.6, "chance is 0.25"
