"""Sample images of a source to calibrate a model that computes in int8."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice

import numpy as np

from ..models.spec import ModelSpec
from ..operators.image_decode import ImageDecode
from ..settings import Settings
from ..sources.source import Source

CALIBRATION_IMAGES = 400


def sample_images(source: Source, spec: ModelSpec, settings: Settings) -> np.ndarray:
    """Return up to 400 images, spread over the source: uint8[n, size, size, 3]."""
    step = max(1, source.total // CALIBRATION_IMAGES)
    rows = islice(chain.from_iterable(source.chunks(1000)), 0, step * CALIBRATION_IMAGES, step)
    decode = ImageDecode("rgb", size=spec.fit, reasons=True, deadline=True, **settings.decode_options)
    images, _ = decode([row.path for row in rows])
    decode.flush()
    readable = [image for image in images if image.size]
    return np.stack(readable) if readable else np.empty((0, spec.image_size, spec.image_size, 3), np.uint8)


def notes_on_int8(stored: Sequence[str], precision: str) -> list[str]:
    """Return notes for the user if this run adds a precision, so that int8 and others are in one collection.

    Args:
        stored: the precisions of the collection before the run. If this run's is among them, nothing is new.
    """
    others = {*stored, precision} - {"int8"}
    if precision in stored or not others or "int8" not in (*stored, precision):
        return []
    return [
        f"the collection now has embeddings in int8 beside others in {', '.join(sorted(others))}: they are searched "
        "together, and scores differ a little; --precision keeps to one"
    ]
