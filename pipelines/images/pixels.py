"""Convert images in a Python program (Pillow, NumPy, PyTorch, open files) to a file's bytes or to RGB pixels."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

from ..errors import TooLarge, UnreadableImage
from ..fetch.read import MAX_BYTES
from .decode import decode_pillow

_CHANNELS = (1, 3, 4)


def read_object(image: Any) -> str | os.PathLike[str] | bytes | np.ndarray:
    """Return a path, a URL or bytes unchanged, an open file as bytes, and others as uint8[height, width, 3] RGB.

    Args:
        image: a path, a URL, bytes, an open binary file, a Pillow image, or an array or tensor [height, width] or
            [height, width, 3 or 4], with values from 0 to 255 or 0 to 1; PyTorch's [3, height, width] is recognised.

    Raises:
        UnreadableImage: it is none of these.
    """
    if isinstance(image, (str, os.PathLike, bytes)):
        return image
    if isinstance(image, (bytearray, memoryview)):
        return bytes(image)
    pillow, torch = sys.modules.get("PIL.Image"), sys.modules.get("torch")
    if pillow and isinstance(image, pillow.Image):
        return decode_pillow(image)
    if callable(getattr(image, "read", None)):
        return _read_open_file(image)
    is_tensor = bool(torch) and isinstance(image, torch.Tensor)  # type: ignore[union-attr]
    if is_tensor:
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()
    if not hasattr(image, "__array__"):
        raise UnreadableImage(f"{type(image).__name__} is no image: give a path, bytes, a Pillow image or an array")
    return _to_rgb(np.asarray(image), is_tensor)


def _read_open_file(file: Any) -> bytes:
    try:
        if file.seekable():  # its position is at the end if it was just written
            file.seek(0)
        data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError, AttributeError) as error:
        raise UnreadableImage(f"the open file cannot be read: {error}") from error
    if not isinstance(data, bytes):
        raise UnreadableImage("the file is open as text: open it with mode 'rb'")
    if len(data) > MAX_BYTES:
        raise TooLarge(f"larger than {MAX_BYTES >> 20} MiB")
    return data


def _to_rgb(array: np.ndarray, is_tensor: bool) -> np.ndarray:
    kind = f"{array.dtype}{list(array.shape)}"
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim == 3 and array.shape[0] in _CHANNELS and (is_tensor or array.shape[2] not in _CHANNELS):
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in _CHANNELS or not array.size:
        raise UnreadableImage(f"an array must be [height, width] or [height, width, 3], not {kind}")
    levels = _to_levels(array, kind)
    if levels.shape[2] == 4:  # over white, as in files
        alpha = levels[..., 3:].astype(np.float32) / 255
        levels = np.rint(levels[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.array(np.broadcast_to(levels, (*levels.shape[:2], 3)), order="C")  # PyTorch warns of read-only arrays


def _to_levels(array: np.ndarray, kind: str) -> np.ndarray:
    """Return levels of 0 to 255, uint8. Booleans, and floats of at most 1, are shares of white."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    if array.dtype.kind not in "biuf":
        raise UnreadableImage(f"an array must hold numbers, not {kind}")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 255):  # also for NaN
        raise UnreadableImage(f"an array must hold 0 to 255 or 0 to 1, and this {kind} holds {low:g} to {high:g}")
    is_share = array.dtype.kind in "bf" and high <= 1
    return np.rint(array.astype(np.float32) * (255 if is_share else 1)).astype(np.uint8)
