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
from ..images.decode import decode, limit_opencv
from ..images.pixels import read_object
from ..threads import resolve_threads

# Remote images at the same time: they wait for the network, not for a core.
FETCHES = 32
FETCHES_PER_THREAD = 16

log = logging.getLogger(__name__)

# See `images.pixels.read_object`.
Source = Any


class ImageDecode:
    """Decodes one image, or a list of images in parallel.

    An image that cannot be decoded becomes one without pixels, uint8[0, 0, 3]: an operator that raises ends the whole
    run, and a pipeline in which one returns None hangs.

    Args:
        mode: 'rgb' or 'bgr', the order of the channels.
        size: decode to a model's square input of this edge, in pixels; a large JPEG is then never held in full.
        reasons: also return why an image could not be decoded, '' for the others. Without, the reason is logged.
        workers: threads for a list and for OpenCV; 0 takes one per core that this process may use. OpenCV and the
            resize release the GIL.
        exact: decode a large JPEG in full before resizing, as the reference implementation does.
        allow_private: also fetch URLs at private, loopback and link-local addresses.
    """

    def __init__(
        self, mode: str = "rgb", size: int | None = None, reasons: bool = False, workers: int = 0,
        allow_private: bool = False, exact: bool = False,
    ) -> None:  # fmt: skip
        if mode.lower() not in ("rgb", "bgr"):
            raise ValueError(f"mode is 'rgb' or 'bgr', not '{mode}'")
        self._bgr = mode.lower() == "bgr"
        self._size, self._exact = size, exact
        self._reasons = reasons
        self._allow_private = allow_private
        workers = resolve_threads(workers)
        self._pool = ThreadPoolExecutor(workers, "decode", limit_opencv, (workers,))
        # The thread that fetched an image decodes it at once: at most FETCHES files are in memory, whatever the batch
        # size, and local images do not wait for a slow server.
        fetches = min(FETCHES, FETCHES_PER_THREAD * workers)
        self._fetchers = ThreadPoolExecutor(fetches, "fetch", limit_opencv, (workers,))
        self._decoding = threading.BoundedSemaphore(workers)
        self._submitting = threading.Lock()  # the images of two lists in turns would make both lists late

    def __call__(self, source: Source | Sequence[Source]) -> Any:
        """A path, a URL or a file's bytes → uint8[h, w, 3]; a list → a list. With `reasons`, a pair (images, reasons).

        Pixels, Pillow images, tensors and open files are accepted as well (`images.pixels.read_object`).
        """
        if not isinstance(source, (list, tuple)):
            image, reason = self._decode(source)
            return (image, reason) if self._reasons else image
        with self._submitting:
            pending = [(self._fetchers if is_remote(one) else self._pool).submit(self._decode, one) for one in source]
        decoded = [future.result() for future in pending]
        images = [image for image, _ in decoded]
        return (images, [reason for _, reason in decoded]) if self._reasons else images

    def _decode(self, source: Source) -> tuple[np.ndarray, str]:
        try:
            pixels = self._read_pixels(source)
        except UnreadableImage as error:
            reason = str(error)
        except MemoryError:
            raise
        except Exception as error:  # whatever a decoder raises, it costs only this image
            reason = f"cannot be decoded: {type(error).__name__}"
        else:
            return (np.ascontiguousarray(pixels[..., ::-1]) if self._bgr else pixels), ""
        if not self._reasons:
            name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "image"
            log.warning("%s: %s", name, reason)
        return np.empty((0, 0, 3), np.uint8), reason

    def _read_pixels(self, source: Source) -> np.ndarray:
        source = read_object(source)
        if isinstance(source, np.ndarray):
            return source
        if is_remote(source):
            data = read_file(source, self._allow_private)
            with self._decoding:
                return decode(data, self._size, exact=self._exact)
        return decode(source if isinstance(source, bytes) else read_file(source), self._size, exact=self._exact)
