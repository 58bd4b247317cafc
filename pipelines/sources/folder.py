"""All images below a folder, on a disk or in an object store."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from itertools import compress
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..fields import Field, FieldType
from .shard import WHOLE, Shard
from .source import IMAGE_SUFFIXES, Row, in_chunks, path_id

_SHARD_ROWS = 1000


class Folder:
    """Folder by folder, sorted by name, without what is hidden. The label is the name of the folder.

    Raises:
        InputError: there is no image in it.
    """

    def __init__(self, root: Path, limit: int = 0, shard: Shard = WHOLE) -> None:
        self._root = root.resolve()
        self._set_up(str(root), limit, shard)

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """The rows, `size` at a time."""
        yield from in_chunks(self._rows(), size)

    def _set_up(self, name: str, limit: int, shard: Shard) -> None:
        self._limit, self._shard = limit, shard
        self.fields: tuple[Field, ...] = (Field("label", FieldType.TEXT),)
        if next(self._images(), None) is None:
            raise InputError(f"there is no image in {name} (looked for {' '.join(sorted(IMAGE_SUFFIXES))})")
        self.total = sum(1 for _ in self._rows())

    def _rows(self) -> Iterator[Row]:
        for rows in in_chunks(self._images(), _SHARD_ROWS):
            yield from compress(rows, self._shard.takes([row.id for row in rows]))

    def _images(self) -> Iterator[Row]:
        count = 0
        for folder, files, label in self._walk():
            for name in sorted(files):
                if os.path.splitext(name)[1].lower() not in IMAGE_SUFFIXES or name.startswith("."):
                    continue
                count += 1
                path = self._join(folder, name)
                yield Row(path_id(path), path, count, {"label": label})
                if count == self._limit:
                    return

    def _walk(self) -> Iterator[tuple[str, list[str], str]]:
        """Each folder, the names of its files, and its label."""
        for folder, subfolders, files in os.walk(self._root):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            yield folder, files, "" if Path(folder) == self._root else os.path.basename(folder)

    def _join(self, folder: str, name: str) -> str:
        return os.path.join(folder, name)


class BucketSource(Folder):
    """The same in an object store: `s3://bucket/photos`.

    Raises:
        InputError: the store cannot be listed, or there is no image in it.
    """

    def __init__(self, url: str, limit: int = 0, shard: Shard = WHOLE) -> None:
        from ..fetch.stores import open_store

        self._url = url.rstrip("/")
        self._filesystem, top = open_store(url)
        self._top = top.rstrip("/")
        self._set_up(url, limit, shard)

    def _walk(self) -> Iterator[tuple[str, list[str], str]]:
        # Not fsspec's own walk: that leaves out a subfolder it cannot list, and says nothing.
        waiting = [self._top]
        while waiting:
            folder = waiting.pop()
            listed = [(str(entry["name"]).rstrip("/"), entry["type"]) for entry in self._list(folder)]
            below = [(name, kind) for name, kind in listed if name != folder]
            files = [posixpath.basename(name) for name, kind in below if kind != "directory"]
            folders = [name for name, kind in below if kind == "directory"]
            waiting += sorted((name for name in folders if not posixpath.basename(name).startswith(".")), reverse=True)
            yield folder, files, "" if folder == self._top else posixpath.basename(folder)

    def _list(self, folder: str) -> list[dict[str, Any]]:
        from ..fetch.stores import store_reason

        try:
            entries: list[dict[str, Any]] = self._filesystem.ls(folder, detail=True)
        except Exception as error:
            raise InputError(f"{self._url}{folder[len(self._top) :]}: {store_reason(error)}") from error
        return entries

    def _join(self, folder: str, name: str) -> str:
        return f"{self._url}{folder[len(self._top) :]}/{name}"
