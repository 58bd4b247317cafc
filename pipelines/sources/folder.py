"""All images below a folder, on a disk or in an object store."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from itertools import compress, islice
from pathlib import Path

from ..errors import InputError
from ..fetch.read import open_store, store_errors
from ..fields import Field, FieldType
from .source import WHOLE, Row, Shard, in_chunks, path_id

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    | {".avif", ".heic", ".heif", ".jp2", ".ppm", ".pgm", ".pbm"}
)
_SHARD_ROWS = 1000


class FolderSource:
    """The images below a folder, folder by folder, sorted by name, hidden ones left out.

    An image's label is the name of its folder, '' at the top.

    Raises:
        InputError: the folder holds no image.
    """

    def __init__(self, root: Path, limit: int = 0, shard: Shard = WHOLE) -> None:
        self._top = str(root.resolve())
        self._check(str(root), limit, shard)

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """The rows of this shard, `size` at a time."""
        return in_chunks(self._rows(), size)

    def _rows(self) -> Iterator[Row]:
        for rows in in_chunks(self._all_rows(), _SHARD_ROWS):
            yield from compress(rows, self._shard.takes([row.id for row in rows]))

    def _check(self, name: str, limit: int, shard: Shard) -> None:
        self._limit, self._shard = limit or None, shard
        self.fields: tuple[Field, ...] = (Field("label", FieldType.TEXT),)
        if next(self._all_rows(), None) is None:
            raise InputError(f"there is no image in {name} (looked for {' '.join(sorted(IMAGE_SUFFIXES))})")
        self.total = sum(1 for _ in self._rows())

    def _all_rows(self) -> Iterator[Row]:
        for line, (path, label) in enumerate(islice(self._images(), self._limit), 1):
            yield Row(path_id(path), path, line, {"label": label})

    def _images(self) -> Iterator[tuple[str, str]]:
        """Path and label of each image."""
        for folder, subfolders, files in self._walk():
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            label = "" if folder == self._top else os.path.basename(folder)
            for name in sorted(files):
                if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith("."):
                    yield self._join(folder, name), label

    def _walk(self) -> Iterator[tuple[str, list[str], list[str]]]:
        """Each folder with its subfolders and files; as with os.walk, the caller sorts and filters the subfolders."""
        return os.walk(self._top)

    def _join(self, folder: str, name: str) -> str:
        return os.path.join(folder, name)


class BucketSource(FolderSource):
    """The same for a folder in an object store: `s3://bucket/photos`.

    Raises:
        InputError: the store cannot be listed, or the folder holds no image.
    """

    def __init__(self, url: str, limit: int = 0, shard: Shard = WHOLE) -> None:
        self._url = url.rstrip("/")
        self._filesystem, top = open_store(url)
        self._top = top.rstrip("/")
        self._check(url, limit, shard)

    def _walk(self) -> Iterator[tuple[str, list[str], list[str]]]:
        # Not fsspec's own walk: it silently leaves out a subfolder that it cannot list.
        waiting = [self._top]
        while waiting:
            folder = waiting.pop()
            with store_errors(self._address(folder)):
                entries = self._filesystem.ls(folder, detail=True)
            listed = [(str(entry["name"]).rstrip("/"), entry["type"]) for entry in entries]
            below = [(posixpath.basename(name), kind) for name, kind in listed if name != folder]
            subfolders = [name for name, kind in below if kind == "directory"]
            yield folder, subfolders, [name for name, kind in below if kind != "directory"]
            waiting += (f"{folder}/{name}" for name in reversed(subfolders))

    def _join(self, folder: str, name: str) -> str:
        return f"{self._address(folder)}/{name}"

    def _address(self, folder: str) -> str:
        return self._url + folder[len(self._top) :]
