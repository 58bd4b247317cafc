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
from ..fields import Field
from ..images.convert import PATIENT_MEMORY, PATIENT_SECONDS, Converter
from ..images.decode import SlowImage, decode
from ..images.fit import Fit
from ..images.formats import limit_opencv
from ..images.metadata import read_metadata
from ..images.pixels import read_object
from ..threads import resolve_threads

# Maximum number of remote images at the same time, in all and per thread. They wait for the network, not for a core.
FETCHES = 32
FETCHES_PER_THREAD = 16

log = logging.getLogger(__name__)

# See `images.pixels.read_object`.
Source = Any
Decoded = tuple[np.ndarray, str, dict[str, Any]]  # pixels, reason, metadata

_NO_PIXELS = np.empty((0, 0, 3), np.uint8)


class ImageDecode:
    """Decodes one image, or a list of images in parallel.

    An image that cannot be decoded becomes one without pixels, uint8[0, 0, 3]. An operator that raises would end the
    whole run, and one that returns None would make the pipeline hang.

    Args:
        mode: 'rgb' or 'bgr', the order of the channels.
        size: decode to a model's square input, given as a `Fit` or by its edge in pixels. A large JPEG is then never
            held in full.
        reasons: also return why an image could not be decoded, '' for the others. Otherwise the reason is logged.
        workers: threads for a list and for OpenCV; 0 takes one per core that this process may use. OpenCV and the
            resize release the GIL.
        exact: decode a large JPEG in full before resizing, as the reference implementation does.
        allow_private: also fetch URLs at private, loopback and link-local addresses.
        metadata: also return the values of these columns, by their keys, after the reasons; {} for a failed image.
        pixels: False decodes nothing: every image is one without pixels.
        deadline: with a `size`, decode images that may take long in other processes, and end these after
            PATIENT_SECONDS.
    """

    def __init__(
        self, mode: str = "rgb", size: int | Fit | None = None, reasons: bool = False, workers: int = 0,
        allow_private: bool = False, exact: bool = False, metadata: Sequence[Field] | None = None, pixels: bool = True,
        deadline: bool = False,
    ) -> None:  # fmt: skip
        if mode.lower() not in ("rgb", "bgr"):
            raise ValueError(f"mode is 'rgb' or 'bgr', not '{mode}'")
        self._bgr = mode.lower() == "bgr"
        self._size, self._exact = size, exact
        self._reasons, self._pixels = reasons, pixels
        self._metadata = None if metadata is None else [(field.key, field.name, field.default) for field in metadata]
        self._allow_private = allow_private
        workers = resolve_threads(workers)
        self._slow = Converter(workers, PATIENT_SECONDS, PATIENT_MEMORY) if deadline and size else None
        self._pool = ThreadPoolExecutor(workers, "decode", limit_opencv, (workers,))
        # The thread that fetched an image also decodes it. So at most FETCHES files are in memory, whatever the batch
        # size, and local images do not wait for a slow server.
        fetches = min(FETCHES, FETCHES_PER_THREAD * workers)
        self._fetchers = ThreadPoolExecutor(fetches, "fetch", limit_opencv, (workers,))
        self._decoding = threading.BoundedSemaphore(workers)
        self._submitting = threading.Lock()  # mixing the images of two lists would delay both lists

    def __call__(self, source: Source | Sequence[Source]) -> Any:
        """A path, a URL or a file's bytes → uint8[h, w, 3]; a list → a list.

        With `reasons` and `metadata` a tuple: images, reasons, metadata. Pixels, Pillow images, tensors and open files
        are accepted as well (`images.pixels.read_object`).
        """
        if not isinstance(source, (list, tuple)):
            return self._wanted(*self._decode(source))
        with self._submitting:
            pending = [(self._fetchers if is_remote(one) else self._pool).submit(self._decode, one) for one in source]
        decoded = [future.result() for future in pending]
        return self._wanted(*map(list, zip(*decoded, strict=True)) if decoded else ([], [], []))

    def flush(self) -> None:
        """End the processes for slow images; the next such image starts them again. `pipeline.flush()` calls this."""
        if self._slow is not None:
            self._slow.close()

    def _wanted(self, images: Any, reasons: Any, metadata: Any) -> Any:
        asked = [(images, True), (reasons, self._reasons), (metadata, self._metadata is not None)]
        values = tuple(value for value, is_asked in asked if is_asked)
        return values if len(values) > 1 else images

    def _decode(self, source: Source) -> Decoded:
        try:
            pixels, metadata = self._read(source)
        except UnreadableImage as error:
            reason = str(error)
        except MemoryError:
            raise
        except Exception as error:  # whatever a decoder raises, only this image fails
            reason = f"cannot be decoded: {type(error).__name__}"
        else:
            return (np.ascontiguousarray(pixels[..., ::-1]) if self._bgr else pixels), "", metadata
        if not self._reasons:
            name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "image"
            log.warning("%s: %s", name, reason)
        return _NO_PIXELS, reason, {}

    def _read(self, source: Source) -> tuple[np.ndarray, dict[str, Any]]:
        source = read_object(source)
        if isinstance(source, np.ndarray):
            return source, {}
        if is_remote(source):
            data = read_file(source, self._allow_private)
            with self._decoding:
                return self._read_bytes(data)
        return self._read_bytes(source if isinstance(source, bytes) else read_file(source))

    def _read_bytes(self, data: bytes) -> tuple[np.ndarray, dict[str, Any]]:
        pixels = self._read_pixels(data) if self._pixels else _NO_PIXELS
        if not self._metadata:
            return pixels, {}
        found = read_metadata(data)
        return pixels, {key: found.get(name, default) for key, name, default in self._metadata}

    def _read_pixels(self, data: bytes) -> np.ndarray:
        try:
            return decode(data, self._size, exact=self._exact, only_quick=self._slow is not None)
        except SlowImage:
            assert self._slow is not None
            return decode(self._slow(data, "PPM", size=self._size, exact=self._exact).data)
