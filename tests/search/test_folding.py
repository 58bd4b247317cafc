"""Near duplicates are folded into the best of them."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.search.folding import Folding


def fold(embeddings: np.ndarray, threshold: float) -> tuple[list[int], list[int]]:
    """Fold row by row, as the docstring of `Folding` describes."""
    alike = embeddings @ embeddings.T >= threshold
    kept: list[int] = []
    folded: list[int] = []
    for row, others in enumerate(alike):
        near = np.flatnonzero(others[kept])
        if len(near):
            folded[near[0]] += 1
        else:
            kept.append(row)
            folded.append(0)
    return kept, folded


@pytest.mark.parametrize("sizes", [(300,), (1, 299), (64, 64, 64, 64, 44), (1,) * 300, (150, 0, 150)])
def test_rows_are_folded_into_the_best_like_them_however_they_come(sizes: tuple[int, ...]) -> None:
    random = np.random.default_rng(1)
    embeddings = random.standard_normal((30, 8))[random.integers(0, 30, 300)] + random.standard_normal((300, 8)) / 4
    embeddings = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)
    folding = Folding(0.93)
    for part in np.split(embeddings, np.cumsum(sizes)[:-1]):
        folding.add(part)
    kept, folded = fold(embeddings, 0.93)
    assert (folding.kept, folding.folded, folding.looked) == (kept, folded, 300)
    assert 60 < len(kept) < 250


def test_a_row_that_is_gone_is_like_no_other() -> None:
    folding = Folding(0.1)
    folding.add(np.array([[1, 0], [np.nan, np.nan], [np.nan, np.nan], [1, 0]], np.float32))
    folding.add(np.array([[1, 0], [np.nan, np.nan]], np.float32))
    assert (folding.kept, folding.folded) == ([0, 1, 2, 5], [2, 0, 0, 0])
