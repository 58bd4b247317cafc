"""Describe how an image becomes the input of a model. This module is quick to import."""

from __future__ import annotations

from typing import NamedTuple


class Fit(NamedTuple):
    """How an image becomes the square input of a model, `size` pixels on each side.

    squash: scale both sides to `size`, whatever the image's shape, instead of cutting out the square in the middle.
    bilinear: resize with bilinear interpolation instead of bicubic.
    """

    size: int
    squash: bool = False
    bilinear: bool = False


def as_fit(size: int | Fit) -> Fit:
    """Return how CLIP fits images to a size; return a `Fit` unchanged."""
    return size if isinstance(size, Fit) else Fit(size)
