"""L2 normalisation: `ops.towhee.np_normalize()`."""

from __future__ import annotations

import numpy as np


class Normalize:
    """Scales embeddings to unit length, so that an inner product is a cosine."""

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """float32[dim] or float32[n, dim] → the same shape, rows of length 1; a zero row becomes NaN, never stored."""
        embeddings = np.asarray(embeddings, np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True))
