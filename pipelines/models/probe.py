"""Known inputs for both towers. Their stored embeddings show whether a runtime computes the same."""

from __future__ import annotations

import numpy as np

from .spec import ModelSpec

# Minimum cosine to float32. bf16 stays above it; a damaged file does not.
MIN_COSINE = 0.999


def probe_of(kind: str, spec: ModelSpec) -> np.ndarray:
    """Return known inputs: two images of noise, uint8[2, size, size, 3], or two texts, int64[2, 7]."""
    if kind == "image":
        shape = (2, spec.image_size, spec.image_size, 3)
        return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    if spec.has_own_tokenizer:
        length = spec.context_length if spec.family == "siglip" else 7
        last = (spec.text.vocab_size if spec.text else spec.architecture.vocab_size) - 1
        return np.random.default_rng(0).integers(2, last, (2, length), dtype=np.int64)
    end = spec.architecture.vocab_size - 1
    return np.array([[end - 1, 320, 1929, end, 0, 0, 0], [end - 1, 320, 2368, 525, 320, 5009, end]], np.int64)


def least_cosine(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the lowest cosine between corresponding rows; -1 for different shapes, NaN and zeros."""
    if found.shape != expected.shape:
        return -1.0
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.nan_to_num((found * expected).sum(axis=1) / lengths, nan=-1.0).min())
