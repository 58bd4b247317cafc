"""Combining embeddings: `ops.embedding.weighted_sum()`."""

from __future__ import annotations

import numpy as np

# Shorter than this part of its weights, a sum is the rounding errors of parts that cancel each other out.
_CANCELLED = 1e-3


class WeightedSum:
    """Adds the embeddings of a query's parts, Σᵢ wᵢ·eᵢ, negative weights steering away.

    On unit embeddings, normalised afterwards, this is Rocchio's relevance feedback (J. J. Rocchio, "Relevance
    feedback in information retrieval", in G. Salton (ed.), The SMART Retrieval System, 1971, ch. 14) with the
    weights of his classes given by hand; rclip (github.com/yurijmikhalevich/rclip) combines its queries so too.
    """

    def __call__(self, embeddings: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """float32[m, dim] of unit length, float32[n, m] → float32[n, dim], one row for each of n queries.

        Parts that cancel each other out, or have no embedding, make a row of NaN, which finds nothing.
        """
        embeddings, weights = np.asarray(embeddings, np.float32), np.asarray(weights, np.float32)
        missing = ~np.isfinite(embeddings).all(axis=1)
        sums = weights @ np.where(missing[:, None], 0, embeddings)
        lost = np.linalg.norm(sums, axis=1) < _CANCELLED * np.abs(weights).sum(axis=1)
        sums[lost | (weights[:, missing] != 0).any(axis=1)] = np.nan
        return sums
