"""Images by content: a hash of the file's bytes, and which of those have an embedding already."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..milvus import schema
from ..milvus.collection import Collection

HASH_BYTES = 16
# The decoder refuses larger files: their content is of no interest.
MAX_BYTES = 1 << 30
BLOCK = 1 << 20

_readers = ThreadPoolExecutor(min(8, (os.cpu_count() or 1) * 2), thread_name_prefix="hash")


def hash_files(paths: Sequence[str]) -> list[str]:
    """BLAKE2b-128 of each file, as 32 hexadecimal digits; '' for what is no readable file (decoding will say why)."""
    return list(_readers.map(_hash_file, paths))


def _hash_file(path: str) -> str:
    digest = hashlib.blake2b(digest_size=HASH_BYTES)
    try:
        # Without O_NONBLOCK the opening of a named pipe would wait for somebody to write into it.
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
    """Which contents have an embedding by this model: those of earlier runs, and those this run has sent.

    Those of this run are kept in memory, 150 bytes a row; the collection is asked for the others.
    """

    def __init__(self, collection: Collection, model_id: str) -> None:
        self._collection = collection
        self._model_id = model_id
        self._was_empty = collection.count() == 0
        self._sent: dict[int, int] = {}
        self._in_flight: set[int] = set()

    def find(self, hashes: Iterable[str]) -> dict[str, int]:
        """Content → id of a row that has it. One query."""
        wanted = {content for content in hashes if content}
        found = {content: self._sent[_key(content)] for content in wanted if _key(content) in self._sent}
        if not self._was_empty:
            found.update(self._collection.ids_of_contents(wanted - found.keys(), self._model_id))
        return found

    def is_in_flight(self, content: str) -> bool:
        """Whether an image with this content is on its way through the pipeline."""
        return bool(content) and _key(content) in self._in_flight

    def send(self, content: str, row_id: int) -> None:
        """Notes an image that goes into the pipeline."""
        if content:
            self._sent[_key(content)] = row_id
            self._in_flight.add(_key(content))

    def land(self, content: str, stored: bool) -> None:
        """Notes that it came out, with or without an embedding."""
        if content:
            self._in_flight.discard(_key(content))
            if not stored:
                self._sent.pop(_key(content), None)

    def embeddings(self, wanted: Iterable[tuple[int, str]]) -> dict[int, np.ndarray]:
        """(id, content) → float32[dim] by id, of those rows that (still) have that content by this model."""
        content_of = dict(wanted)
        rows = self._collection.get(list(content_of), [schema.HASH, schema.MODEL, schema.EMBEDDING])
        return {
            row_id: np.asarray(row[schema.EMBEDDING], np.float32)
            for row_id, row in rows.items()
            if row[schema.HASH] == content_of[row_id] and row[schema.MODEL] == self._model_id
        }


def _key(content: str) -> int:
    """64 bits of the hash: a key of half the memory. `embeddings` compares the whole."""
    return int(content[:16], 16)
