"""Image fetching and decoding by OpenCV: `ops.image_decode.cv2('rgb')`."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ..errors import UnreadableImage
from ..fetch.read import is_remote, read_file
from ..images.decode import decode

# Remote images on their way at once. The network is what they wait for, not a core.
FETCHES = 32

log = logging.getLogger(__name__)

Source = str | os.PathLike[str] | bytes | np.ndarray


class ImageDecode:
    """Decodes one image, or a list of them in parallel.

    What cannot be decoded becomes an image without pixels, uint8[0, 0, 3]: an operator that raises would lose
    the whole run, and Towhee holds a None back for ever.

    Args:
        mode: 'rgb' or 'bgr', the order of the channels.
        size: decode straight to a model's square input of this edge, in pixels (a large JPEG is then never
            held in full).
        reasons: also return why an image could not be decoded ('' where it could). Without, it is logged.
        workers: threads for a list; 0 takes one a core. OpenCV and the resize release the GIL.
        exact: decode a large JPEG in full before resizing, as the reference does.
        allow_private: also fetch URLs on private, loopback and link-local addresses.
    """

    def __init__(
        self, mode: str = "rgb", size: int | None = None, reasons: bool = False, workers: int = 0,
        allow_private: bool = False, exact: bool = False,
    ) -> None:  # fmt: skip
        if mode.lower() not in ("rgb", "bgr"):
            raise ValueError(f"mode is 'rgb' or 'bgr', not '{mode}'")
        self._bgr = mode.lower() == "bgr"
        self._size = size
        self._reasons = reasons
        self._exact = exact
        workers = workers or os.cpu_count() or 1
        self._allow_private = allow_private
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        # A remote image is decoded by the thread that fetched it, as soon as it is there: so no more than FETCHES
        # files wait in memory, whatever the batch size, and a slow server keeps no local image waiting.
        self._fetchers = ThreadPoolExecutor(FETCHES, thread_name_prefix="fetch")
        self._decoding = threading.BoundedSemaphore(workers)
        self._one_list_after_the_other = threading.Lock()  # lists that come together would all be ready last

    def __call__(self, source: Source | Sequence[Source]) -> Any:
        """A path, URL or file's bytes → uint8[h, w, 3]; a list → a list. With `reasons`, a pair (images, reasons).

        Pixels, uint8[h, w, 3] RGB, are taken as they are.
        """
        if isinstance(source, (str, bytes, os.PathLike, np.ndarray)):
            image, reason = self._decode(source)
            return (image, reason) if self._reasons else image
        with self._one_list_after_the_other:
            pending = [(self._fetchers if is_remote(one) else self._pool).submit(self._decode, one) for one in source]
        decoded = [future.result() for future in pending]
        images = [image for image, _ in decoded]
        return (images, [reason for _, reason in decoded]) if self._reasons else images

    def _decode(self, source: Source) -> tuple[np.ndarray, str]:
        try:
            if isinstance(source, np.ndarray):
                pixels = _checked(source)
            elif is_remote(source):
                pixels = self._decode_remote(source)
            else:
                data = source if isinstance(source, bytes) else read_file(source)
                pixels = decode(data, self._size, exact=self._exact)
        except UnreadableImage as error:
            reason = str(error)
        except MemoryError:
            raise
        except Exception as error:  # whatever a decoder raises, it costs this one image only
            reason = f"cannot be decoded: {type(error).__name__}"
        else:
            return (np.ascontiguousarray(pixels[..., ::-1]) if self._bgr else pixels), ""
        if not self._reasons:
            log.warning("%s: %s", "image" if isinstance(source, (bytes, np.ndarray)) else os.fspath(source), reason)
        return np.empty((0, 0, 3), np.uint8), reason

    def _decode_remote(self, url: str) -> np.ndarray:
        data = read_file(url, self._allow_private)
        with self._decoding:
            return decode(data, self._size, exact=self._exact)


def _checked(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise UnreadableImage(f"an array must be uint8[height, width, 3] RGB, not {pixels.dtype}{list(pixels.shape)}")
    return pixels
