"""The parts of a query combined into one embedding."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.errors import InputError
from pipelines.search.embedder import combine


def test_the_weighted_sum_has_unit_length() -> None:
    parts = np.array([[1, 0], [0, 1]], np.float32)
    combined = combine(parts, [3, -4])
    np.testing.assert_allclose(combined, [0.6, -0.8], rtol=1e-6)
    assert combined.dtype == np.float32
    np.testing.assert_allclose(combine(parts[:1], [0.5]), parts[0])


@pytest.mark.parametrize("second", [[-0.6, -0.8], [np.nan, np.nan], [-0.6001, -0.7999]])
def test_parts_that_cancel_each_other_out_or_are_no_embedding_are_an_error(second: list[float]) -> None:
    with pytest.raises(InputError, match="cancel each other out"):
        combine(np.array([[0.6, 0.8], second], np.float32), [1, 1])
