"""The split of a dataset."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.training.dataset import split

pytestmark = pytest.mark.usefixtures("one_thread")


def test_copies_of_an_image_stay_on_one_side() -> None:
    groups = np.array([0, 1, 2, 0, 3, 4, 5, 0, 6, 7])
    for seed in range(20):
        training, held_out = split(groups, 0.3, seed)
        assert not set(groups[training]) & set(groups[held_out])
        assert sorted([*training, *held_out]) == list(range(10))
        assert len(held_out) >= 3
