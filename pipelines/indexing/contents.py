"""The contents of files: their hashes, and the rows that hold an embedding of each."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

from ..milvus import schema
from ..milvus.calls import chunked
from ..milvus.collection import Collection
from ..milvus.literals import list_literal
from ..threads import resolve_threads

HASH_BYTES = 16
MAX_BYTES = 1 << 30  # the decoder refuses larger files
BLOCK = 1 << 20


def hash_files(paths: Sequence[str], threads: int = 0) -> list[str]:
    """Return BLAKE2b-128 of each file as 32 hexadecimal digits; '' if it cannot be read (decoding will say why).

    Args:
        threads: 0 takes one per core that this process may use. Twice as many read, but at most 8, because they also
            wait for the disk.
    """
    return list(_readers(min(8, 2 * resolve_threads(threads))).map(_hash_file, paths))


@lru_cache(maxsize=1)
def _readers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="hash")


def _hash_file(path: str) -> str:
    digest = hashlib.blake2b(digest_size=HASH_BYTES)
    try:
        # Without O_NONBLOCK, opening a named pipe would wait until another process writes into it.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= MAX_BYTES:
                return ""
            while block := file.read(BLOCK):
                digest.update(block)
    except (OSError, ValueError):
        return ""
    return digest.hexdigest()


class Contents:
    """Knows which rows hold this model's embedding of each content: in the collection, or soon, from this run.

    The contents of this run stay in memory, 200 bytes a row. The others are looked up in the collection.
    """

    def __init__(self, collection: Collection, model_id: str) -> None:
        self._collection = collection
        self._model_id = model_id
        self._was_empty = collection.count() == 0
        self._of_this_run: dict[bytes, int] = {}

    def find_rows(self, contents: set[str], names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Return content → its stored rows by id, whichever model embedded them. Makes one query per 1,000 contents."""
        found: dict[str, list[dict[str, Any]]] = {}
        for part in chunked([] if self._was_empty else sorted(contents - {""})):
            expression = f"{schema.HASH} in {list_literal(part)}"
            rows = self._collection.query(expression, [schema.ID, schema.HASH, *names])
            for row in sorted(rows, key=lambda row: row[schema.ID]):
                found.setdefault(row[schema.HASH], []).append(row)
        return found

    def find_holder(self, content: str, stored: Iterable[Mapping[str, Any]]) -> int | None:
        """Return the id of a row with the content: one that this run embeds, or one of `stored`."""
        if content and (key := self._of_this_run.get(bytes.fromhex(content))) is not None:
            return key
        return next((row[schema.ID] for row in stored if row[schema.MODEL] == self._model_id), None)

    def add(self, content: str, row_id: int) -> None:
        """Note that this run embeds an image with this content."""
        self._of_this_run[bytes.fromhex(content)] = row_id
