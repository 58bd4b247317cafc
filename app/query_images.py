"""Images that people search with: kept as the model sees them, so that a link to such a search can be kept too."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import tempfile
from pathlib import Path

from pipelines.errors import UnreadableImage
from pipelines.fetch.read import read_file
from pipelines.images.decode import decode
from pipelines.settings import cache_dir

# 224×224 pixels as PNG are about 90 kB.
MOST_KEPT = 1000
_CHIP_EDGE = 96


class QueryImages:
    """A folder of small images named by their content. The oldest go when there are more than MOST_KEPT.

    The names are 128 bits of a hash: who has not been given the link cannot guess it. Only the owner of the process
    may read the folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or cache_dir() / "query_images"

    def keep(self, path: str, size: int) -> str:
        """Takes an uploaded image in and returns its key.

        Args:
            size: edge of the model's input. The image is kept in just this form: searching with it again gives
                the very same embedding, and nothing beyond what the search used is stored.

        Raises:
            UnreadableImage: with the reason.
        """
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(decode(read_file(path), size=size)).save(buffer, "PNG")
        data = buffer.getvalue()
        key = hashlib.blake2b(data, digest_size=16).hexdigest()
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, aside = tempfile.mkstemp(dir=self._folder, suffix=".part")
            with open(descriptor, "wb") as file:
                file.write(data)
            os.replace(aside, self._path(key))
        except OSError as error:
            raise UnreadableImage(f"it cannot be kept in {self._folder}: {error.strerror}") from error
        self._forget_oldest()
        return key

    def get(self, key: str) -> bytes | None:
        """A kept image as PNG, None where it is gone."""
        try:
            return self._path(key).read_bytes()
        except OSError:
            return None

    def data_url(self, key: str) -> str:
        """A small version for the page, '' where it is gone."""
        from PIL import Image

        data = self.get(key)
        if data is None:
            return ""
        image = Image.open(io.BytesIO(data), formats=["PNG"])
        image.thumbnail((_CHIP_EDGE, _CHIP_EDGE))
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=75)
        return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.png"

    def _forget_oldest(self) -> None:
        with contextlib.suppress(OSError):  # another process may be doing the same
            kept = sorted(self._folder.glob("*.png"), key=lambda file: file.stat().st_mtime_ns)
            for file in kept[:-MOST_KEPT]:
                file.unlink(missing_ok=True)
