"""The original file of an image in the collection: its path, and whether it is still the file that was indexed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from pipelines.errors import CollectionNotFound, UnreadableImage
from pipelines.fetch.read import is_remote
from pipelines.fields import PATH, row_id
from pipelines.milvus.schema import MTIME_NS, SIZE

from .library import Library


class Original(NamedTuple):
    """The file of one row: its path or URL, and its modification time and size when it was indexed (0 for a URL)."""

    path: str
    mtime_ns: int
    size: int

    @property
    def is_unchanged(self) -> bool:
        """Whether a local file has the same modification time and size as when it was indexed."""
        try:
            status = os.stat(self.path)
        except (OSError, ValueError):
            return False
        return (status.st_mtime_ns, status.st_size) == (self.mtime_ns, self.size)

    def check(self) -> None:
        """Check that the path still leads to the file that was indexed.

        A collection may consist of symbolic links. A link that replaced a file later could lead to a private file.

        Raises:
            UnreadableImage: the path leads to another file, or to none.
        """
        if is_remote(self.path):
            return
        path = os.path.abspath(self.path)
        if not os.path.exists(path) or (os.path.realpath(path) != path and not self.is_unchanged):
            raise UnreadableImage("no such file")


def find_originals(library: Library, image_ids: Iterable[str]) -> dict[str, Original]:
    """Return the files of images by id. Ids that the collection does not have are left out.

    Raises:
        SearchError: the database does not answer.
    """
    numbers = {image_id: row_id(image_id) for image_id in image_ids}
    try:
        with library.searcher().reading() as opened:
            rows = opened.collection.get(list(numbers.values()), [PATH, MTIME_NS, SIZE], strong=False)
    except CollectionNotFound:
        return {}
    found = {image_id: rows[number] for image_id, number in numbers.items() if number in rows}
    return {
        image_id: Original(str(row[PATH]), row.get(MTIME_NS) or 0, row.get(SIZE) or 0)
        for image_id, row in found.items()
    }
