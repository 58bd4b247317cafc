"""The images, decoded once by the product's own code into one file, from which every epoch reads.

Before the training and not beside it: decoding in other threads while PyTorch trains starts a second pool of threads,
and both fall to a fraction of their speed (measured: 400 images/s to 50 to 70).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..operators.image_decode import ImageDecode
from .files import save_json

_AT_ONCE = 256
_SAVE_SECONDS = 5.0
_SPARE_BYTES = 1 << 30


class Interrupted(Exception):
    """Ctrl-C; what was done so far is on disk."""


def decode_all(
    paths: Sequence[str], size: int, work: Path, name: str, allow_private: bool,
    advance: Callable[[int, int], object], stopped: Callable[[], bool],
) -> tuple[np.ndarray, list[str]]:  # fmt: skip
    """Decodes images to a model's size, going on where an earlier run was killed.

    Returns:
        uint8[n, size, size, 3], mapped from disk, and for each image why it cannot be used, '' where it can.

    Raises:
        InputError: the disk has no room.
        Interrupted: `stopped` said so.
    """
    file, note = work / f"{name}.u8", work / f"{name}.json"
    shape = (len(paths), size, size, 3)
    reasons: list[str] = []
    if note.is_file() and file.is_file():
        reasons = json.loads(note.read_text(encoding="utf-8"))["reasons"]
    else:
        needed, free = int(np.prod(shape)), shutil.disk_usage(work).free
        if needed + _SPARE_BYTES > free:
            raise InputError(
                f"the decoded images take {needed / 1e9:.1f} GB in {work}, where {free / 1e9:.1f} GB are free"
            )
    pixels = np.memmap(file, np.uint8, "r+" if reasons else "w+", shape=shape)
    decode = ImageDecode("rgb", size=size, reasons=True, allow_private=allow_private)
    saved = time.monotonic()
    while len(reasons) < len(paths):
        start = len(reasons)
        images, why = decode(list(paths[start : start + _AT_ONCE]))
        for row, image in enumerate(images, start):
            if image.size:
                pixels[row] = image
        reasons += why
        advance(len(reasons), len(paths))
        interrupted = stopped()
        if len(reasons) == len(paths) or interrupted or time.monotonic() - saved > _SAVE_SECONDS:
            pixels.flush()
            save_json({"reasons": reasons}, note)
            saved = time.monotonic()
        if interrupted:
            raise Interrupted
    return np.memmap(file, np.uint8, "r", shape=shape), reasons


def groups_of_equal(pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A number for each image, the same for images that are equal: copies under two names."""
    numbers: dict[bytes, int] = {}
    digests = (hashlib.blake2b(pixels[row].tobytes(), digest_size=16).digest() for row in rows)
    return np.array([numbers.setdefault(digest, len(numbers)) for digest in digests], np.int64)
