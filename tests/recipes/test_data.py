"""The training images are read, split and drawn with their own texts."""

from __future__ import annotations

import numpy as np
import pytest

from recipes.builtin import data
from recipes.builtin.sampler import Sampler
from tests.support.recipe import COLOURS, SEED

pytestmark = pytest.mark.usefixtures("one_thread")


def test_preparation_reads_images_labels_and_captions(photos: data.Photos) -> None:
    assert photos.pixels.shape == (192, 72, 72, 3)
    assert photos.label_texts == sorted(COLOURS)
    assert ((photos.labels >= 0) ^ (photos.captions[:, 0] >= 0)).all()
    assert "there is a red circle on grey" in photos.caption_texts
    row = int(np.flatnonzero(photos.labels == photos.label_texts.index("red"))[0])
    red, green, blue = photos.pixels[row, 36, 36].astype(int)
    assert red > green + 80
    assert red > blue + 80


def test_split_keeps_validation_apart(photos: data.Photos) -> None:
    training, held_out = photos.split(0.1, SEED)
    assert len(held_out) == 19
    assert not set(training) & set(held_out)
    assert len(training) + len(held_out) == len(photos)


def test_sampler_pairs_an_image_with_its_own_text(photos: data.Photos) -> None:
    sampler = Sampler(photos, np.arange(len(photos)), 64, SEED)
    _, pixels, labels, captions = sampler.draw()
    captioned = int((captions >= 0).sum())
    assert 0 < captioned < 64
    assert (captions[:captioned] >= 0).all()
    assert (labels[captioned:] >= 0).all()
    for image, label, caption in zip(pixels, labels.tolist(), captions.tolist(), strict=True):
        text = photos.caption_texts[caption] if caption >= 0 else photos.label_texts[label]
        colour = next(name for name in COLOURS if name in text)
        assert np.abs(image[36, 36].numpy().astype(int) - COLOURS[colour]).max() < 40
