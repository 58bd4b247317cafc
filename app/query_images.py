"""Query images from uploads and the web, kept as the model sees them, so that links to such searches stay valid."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pipelines.errors import UnreadableImage
from pipelines.fetch.read import read_file
from pipelines.files import write_atomically
from pipelines.images.decode import decode
from pipelines.images.fit import Fit
from pipelines.images.worker import encode
from pipelines.settings import cache_dir

from .given_image import GivenImage
from .media import convert_sent

MOST_KEPT = 1000  # images; 224×224 pixels as PNG are about 90 kB
_CHIP_EDGE = 96  # pixels
# Maximum number of images that are converted at a time: for all clients, and for one. It is below the page's
# CONCURRENCY, so that searches by words always find a free thread.
_AT_ONCE, _OF_CLIENT = 4, 2


class QueryImages:
    """A folder of small images, each named by a hash of its content or web address. Only the newest MOST_KEPT stay.

    A name has 128 bits, so nobody can guess it without the link. Only the user of this process may read the folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or cache_dir() / "query_images"
        self._lock, self._at_work = threading.Lock(), Counter[str]()

    def keep(self, path: str, size: Fit, allow_private: bool = False, client: str = "") -> str:
        """Keep an image and return its key, which is a hash of its web address or of its content.

        Args:
            path: an uploaded file, or the web address of an image.
            size: the model's input. The image is kept in this size: searching for it again gives the same embedding,
                and nothing is stored that the search does not need.
            allow_private: also fetch from private, loopback and link-local addresses.
            client: the address of the client.

        Raises:
            UnreadableImage: the image cannot be decoded or kept.
        """
        with self._place(client):
            data = convert_sent(read_file(path, allow_private), "PNG", size=size).data
        given = GivenImage(path)
        key = given.key if given.is_web else hashlib.blake2b(data, digest_size=16).hexdigest()
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(self._path(key), lambda part: part.write_bytes(data), is_cache=True)
        except OSError as error:
            raise UnreadableImage(f"it cannot be kept in {self._folder}: {error.strerror}") from error
        self._forget_oldest()
        return key

    @contextlib.contextmanager
    def _place(self, client: str) -> Iterator[None]:
        with self._lock:
            if self._at_work[client] >= _OF_CLIENT or self._at_work.total() >= _AT_ONCE:
                raise UnreadableImage("too many images are being searched for; try again soon", "error_busy")
            self._at_work[client] += 1
        try:
            yield
        finally:
            with self._lock:
                self._at_work -= Counter([client])  # also drops clients whose count is 0

    def get(self, key: str) -> bytes | None:
        """Return an image as PNG; None if it is no longer kept."""
        try:
            return self._path(key).read_bytes()
        except OSError:
            return None

    def data_url(self, key: str) -> str:
        """Return a small version as a `data:` URL; '' if the image is no longer kept."""
        data = self.get(key)
        if data is None:
            return ""
        small = encode(decode(data, size=_CHIP_EDGE), "WEBP")
        return f"data:{small.media_type};base64,{base64.b64encode(small.data).decode()}"

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.png"

    def _forget_oldest(self) -> None:
        with contextlib.suppress(OSError):  # another process may be doing the same
            kept = sorted(self._folder.glob("*.png"), key=lambda file: file.stat().st_mtime_ns)
            for file in kept[:-MOST_KEPT]:
                file.unlink(missing_ok=True)
