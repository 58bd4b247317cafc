"""Decode a camera's RAW with rawpy (LibRaw): its preview if large enough, else the sensor's image at half size."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import TooLarge, UnreadableImage
from .fit import Fit
from .jpeg import open_jpeg
from .orientation import turn_upright
from .preprocess import fit_image

# CR2, CRW, RW2, ORF, RAF, CR3, X3F, MRW.
_START = re.compile(
    rb"II\*\0.{4}CR|II\x1a\0\0\0HEAPCCDR|IIU\0|IIR[OS]|MMOR|FUJIFILM|.{4}ftypcrx |FOVb|\0MRM", re.DOTALL
)
# A PhotometricInterpretation of CFA or LinearRaw: a TIFF (DNG, NEF, ARW, PEF, …) with it holds values of a sensor.
_SENSOR_VALUES = {
    b"II*\0": re.compile(rb"\x06\x01\x03\0\x01\0\0\0(?:\x23\x80|\x4c\x88)"),
    b"MM\0*": re.compile(rb"\x01\x06\0\x03\0\0\0\x01(?:\x80\x23|\x88\x4c)"),
}
_ORIENTATION = (1, 2, 4, 3, 5, 8, 6, 7)  # indexed by LibRaw's `flip`


def is_raw(data: bytes) -> bool:
    """Whether a file holds the values of a camera's sensor, even if it begins with a preview."""
    sensor_values = _SENSOR_VALUES.get(data[:4])
    return bool(_START.match(data) or (sensor_values and sensor_values.search(data)))


def decode_raw(
    data: bytes, fit: Fit | None, max_pixels: int, decode_jpeg: Callable[[bytes, int], np.ndarray]
) -> np.ndarray:
    """Decode a RAW, upright.

    Args:
        data: the bytes of the file.
        fit: a model's square input, to which the image is then resized and cropped.
        max_pixels: maximum number of pixels of the sensor; not checked if the preview is large enough.
        decode_jpeg: decodes the preview to the same `fit`. Its second argument is the orientation if the JPEG has none.

    Returns:
        uint8[height, width, 3] RGB, or uint8[size, size, 3].

    Raises:
        UnreadableImage: with the reason.
    """
    with _opened(data) as raw:
        half = min(raw.sizes.width, raw.sizes.height) // 2
        pixels = _decode_preview(raw, min(fit.size if fit else half, half), decode_jpeg)
        if pixels is None:
            pixels = _develop(raw, max_pixels)
    return pixels if fit is None or pixels.shape[:2] == (fit.size, fit.size) else fit_image(pixels, fit)


def raw_size(data: bytes) -> tuple[int, int]:
    """Return width and height of a RAW's image, upright.

    Raises:
        UnreadableImage: with the reason.
    """
    with _opened(data) as raw:
        width, height = raw.sizes.width, raw.sizes.height
        return (height, width) if raw.sizes.flip & 4 else (width, height)


@contextmanager
def _opened(data: bytes) -> Iterator[Any]:
    try:
        import rawpy
    except ImportError:
        raise UnreadableImage("a camera's RAW needs one more package (pip install rawpy)") from None
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            yield raw
    except (rawpy.LibRawUnsufficientMemoryError, rawpy.LibRawTooBigError) as error:
        raise MemoryError from error
    except (rawpy.LibRawError, rawpy.NotSupportedError, OSError) as error:
        reason = error.args[0] if error.args else type(error).__name__
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise UnreadableImage(f"a camera's RAW that LibRaw cannot read: {text}") from error


def _decode_preview(raw: Any, shortest: int, decode_jpeg: Callable[[bytes, int], np.ndarray]) -> np.ndarray | None:
    """The preview, None if its short side is smaller than `shortest` or it is damaged."""
    import rawpy

    orientation = _ORIENTATION[raw.sizes.flip & 7]
    try:
        preview = raw.extract_thumb()
        if preview.format == rawpy.ThumbFormat.BITMAP:
            is_large = min(preview.data.shape[:2]) >= shortest
            return turn_upright(_rgb(preview.data), orientation) if is_large else None
        is_large = min(open_jpeg(preview.data).size) >= shortest
        return decode_jpeg(preview.data, orientation) if is_large else None
    except rawpy.LibRawUnsufficientMemoryError:
        raise
    except (rawpy.LibRawError, UnreadableImage, OSError, SyntaxError, ValueError):
        return None


def _develop(raw: Any, max_pixels: int) -> np.ndarray:
    width, height = raw.sizes.raw_width, raw.sizes.raw_height
    if width * height > max_pixels:
        raise TooLarge(f"too many pixels ({width}×{height})")
    return _rgb(raw.postprocess(half_size=True, use_camera_wb=True))


def _rgb(pixels: np.ndarray) -> np.ndarray:
    """Three channels; the one channel of a sensor without colour filters is repeated."""
    height, width = pixels.shape[:2]
    return np.ascontiguousarray(np.broadcast_to(pixels.reshape(height, width, -1)[..., :3], (height, width, 3)))
