"""Augmentation changes images and keeps what they show."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recipes.builtin import augment, data
from tests.support.recipe import SEED

pytestmark = pytest.mark.usefixtures("one_thread")


def test_augmentation_changes_images_and_keeps_their_form(photos: data.Photos) -> None:
    torch.manual_seed(SEED)
    pixels = torch.from_numpy(photos.pixels[:40].copy())
    first, second = augment.augment(pixels, 64), augment.augment(pixels, 64)
    assert first.shape == (40, 3, 64, 64)
    assert first.isfinite().all()
    assert (first - second).abs().mean() > 0.05
    wide = augment.preprocess(np.zeros((100, 250, 3), np.uint8), 64)
    assert wide.shape == (3, 64, 64)


def test_a_square_is_cut_where_it_is() -> None:
    """A square that is not enlarged has the image's own pixels."""
    pixels = torch.from_numpy(np.random.default_rng(SEED).integers(0, 256, (2, 72, 72, 3), np.uint8))
    cut = augment.crop(pixels, torch.tensor([[18.0, 30.0, 36.0], [36.0, 0.0, 36.0]]), 36)
    assert (cut[0] - pixels[0, 18:54, 30:66].permute(2, 0, 1)).abs().max() < 0.1
    assert (cut[1] - pixels[1, 36:, :36].permute(2, 0, 1)).abs().max() < 0.1


def test_random_squares_lie_inside() -> None:
    squares = augment.random_squares(1000, 72, 0.5)
    assert squares[:, 2].min() >= 36
    assert squares[:, 2].max() <= 72
    assert squares.min() >= 0
    assert (squares[:, :2] + squares[:, 2:]).max() <= 72.001
    assert squares[:, 2].std() > 5
    assert squares[:, 0].std() > 5


def test_sharpening_keeps_areas_and_lifts_edges() -> None:
    torch.manual_seed(SEED)
    batch = torch.full((8, 3, 16, 16), 0.4)
    batch[..., 8:] = 0.6
    sharper = augment.sharpen(batch, 2.0)
    steps = sharper[..., 8] - sharper[..., 7]
    assert torch.allclose(sharper[..., :6], batch[..., :6])
    assert torch.allclose(sharper[..., 10:], batch[..., 10:])
    assert (steps > 0.2).all()
    assert steps[:, 0, 0].std() > 0.01
