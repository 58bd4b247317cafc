"""Picture decoding by OpenCV: `ops.image_decode.cv2('rgb')`."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ..images.decode import UnreadablePicture, decode

log = logging.getLogger(__name__)

Source = str | os.PathLike[str] | bytes | np.ndarray


class ImageDecode:
    """Decodes one picture, or a list of them in parallel.

    What cannot be decoded becomes a picture without pixels, uint8[0, 0, 3]: an operator that raises would lose
    the whole run, and Towhee holds a None back for ever.

    Args:
        mode: 'rgb' or 'bgr', the order of the channels.
        size: decode straight to a model's square input of this edge, in pixels (a large JPEG is then never
            held in full).
        reasons: also return why a picture could not be decoded ('' where it could). Without, it is logged.
        workers: threads for a list; 0 takes one a core. OpenCV and the resize release the GIL.
    """

    def __init__(self, mode: str = "rgb", size: int | None = None, reasons: bool = False, workers: int = 0) -> None:
        if mode.lower() not in ("rgb", "bgr"):
            raise ValueError(f"mode is 'rgb' or 'bgr', not '{mode}'")
        self._bgr = mode.lower() == "bgr"
        self._size = size
        self._reasons = reasons
        self._pool = ThreadPoolExecutor(workers or os.cpu_count() or 1, thread_name_prefix="decode")

    def __call__(self, source: Source | Sequence[Source]) -> Any:
        """A path or a file's bytes → uint8[h, w, 3]; a list → a list. With `reasons`, a pair (pictures, reasons).

        Pixels, uint8[h, w, 3] RGB, are taken as they are.
        """
        if isinstance(source, (str, bytes, os.PathLike, np.ndarray)):
            picture, reason = self._decode(source)
            return (picture, reason) if self._reasons else picture
        decoded = list(self._pool.map(self._decode, source))
        pictures = [picture for picture, _ in decoded]
        return (pictures, [reason for _, reason in decoded]) if self._reasons else pictures

    def _decode(self, source: Source) -> tuple[np.ndarray, str]:
        try:
            pixels = _checked(source) if isinstance(source, np.ndarray) else decode(source, self._size)
        except UnreadablePicture as error:
            reason = str(error)
        except Exception as error:  # whatever a decoder raises, it costs this one picture only
            reason = f"cannot be decoded: {type(error).__name__}"
        else:
            return (np.ascontiguousarray(pixels[..., ::-1]) if self._bgr else pixels), ""
        if not self._reasons:
            log.warning("%s: %s", "picture" if isinstance(source, (bytes, np.ndarray)) else os.fspath(source), reason)
        return np.empty((0, 0, 3), np.uint8), reason


def _checked(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise UnreadablePicture(f"an array must be uint8[height, width, 3] RGB, not {pixels.dtype}{list(pixels.shape)}")
    return pixels
