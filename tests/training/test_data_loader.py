"""Batches of images with their texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.training.data_loader import DataLoader
from pipelines.training.dataset import number_texts, read_images
from pipelines.training.model import contrastive_loss
from tests.support.photos import write_csv

pytestmark = pytest.mark.usefixtures("one_thread")


def test_equal_texts_and_equal_labels_are_relevant(tmp_path: Path) -> None:
    rows = [["a.jpg", "A dog", ""], ["b.jpg", "a  dog", "cat"], ["c.jpg", "", "cat"], ["a.jpg", "two dogs", ""]]
    images = read_images(str(write_csv(tmp_path / "t.csv", ["path", "caption", "label"], rows)))
    assert [image.captions for image in images] == [["A dog", "two dogs"], ["a dog"], []]
    texts = number_texts(images, ("a photo of a {}", "a {}"), 77)
    assert texts.choices == [[0, 1], [0, 2], [2]]
    assert len(texts.rows[2]) == 2
    loader = DataLoader(np.zeros((3, 8, 8, 3), np.uint8), np.arange(3), texts, 3, seed=1)
    first = loader._gather(np.arange(3), np.array([[0.1, 0], [0.1, 0], [0, 0.9]]))
    assert first.relevant.tolist() == [[True, True, False], [True, True, True], [False, False, True]]
    one, two = torch.eye(3)[[0, 0, 1]], torch.eye(3)[[0, 0, 1]]
    right = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    alike = contrastive_loss(one, two, right, torch.tensor(50.0))
    assert alike == pytest.approx(2 / 3 * np.log(2), abs=1e-3)
