"""Stamps tell a long-lived reader that a collection was replaced, dropped, or given other columns or another index."""

from __future__ import annotations

import json
import os
import time
from functools import lru_cache
from typing import NamedTuple

from ..errors import CollectionNotFound, StoreError, StoreUnavailable
from .calls import call
from .collection import Collection
from .index_build import read_index
from .lite import is_lite, lite_path


class Stamp(NamedTuple):
    """Stays equal as long as the collection, its columns and its index are the same. Its rows do not matter.

    database: identifies the Milvus Lite file, which may have been deleted and created again; '' for a server.
    vector_index: '' while the index is being replaced.
    """

    database: str
    collection: str
    vector_index: str


def stamp_of(collection: Collection) -> Stamp | None:
    """Return the current stamp, None if the collection does not exist.

    For Milvus Lite this takes the status of three files, 10 µs, and reads one only if it has changed. A server takes
    3 ms to answer.

    Raises:
        StoreError: the server does not answer.
    """
    if is_lite(collection.uri):
        return _stamp_of_files(lite_path(collection.uri), collection.name)
    try:
        description = call(collection.client.describe_collection, collection.name)
        has_index = call(collection.client.list_indexes, collection.name)
        index = repr(read_index(collection.client, collection.name)) if has_index else ""
    except CollectionNotFound:
        return None
    fields = [(field["name"], int(field["type"])) for field in description["fields"]]
    return Stamp("", f"{description['collection_id']} {fields}", index)


def rows_stamp(collection: Collection) -> str:
    """Return a text that changes whenever rows do. On a server, an update changes the text only after a flush.

    Milvus Lite appends each write to a log, and writes its manifest when it seals the rows of the log. A server puts
    flushed rows into new segments, and never uses a segment's id again. The number of flushed rows tells less: it
    includes replaced rows until they are compacted away, and can be the same before and after an update.
    """
    if is_lite(collection.uri):
        folder = os.path.join(collection.address, "collections", collection.name)
        try:
            with os.scandir(os.path.join(folder, "wal")) as entries:
                log = sorted((entry.name, entry.stat().st_size) for entry in entries)
            return f"{_identity(os.path.join(folder, 'manifest.json'))} {log}"
        except OSError:  # a file of the log was sealed at this moment
            return f"{time.monotonic()}"
    return f"{collection.count(strong=False)} {_flushed(collection)}"


def _flushed(collection: Collection) -> str:
    """Return a server's segments of flushed rows, or only the number of rows if it does not list its segments."""
    try:
        segments = call(collection.client.list_persistent_segments, collection.name)
    except StoreUnavailable:
        raise
    except StoreError:  # not every cloud lists them
        return str(call(collection.client.get_collection_stats, collection.name))
    return str(sorted((segment.segment_id, segment.num_rows) for segment in segments))


def _stamp_of_files(path: str, name: str) -> Stamp | None:
    folder = os.path.join(path, "collections", name)
    try:
        return Stamp(
            _identity(os.path.join(path, "LOCK")),
            _identity(os.path.join(folder, "schema.json")),
            _index_of(manifest := os.path.join(folder, "manifest.json"), _identity(manifest)),
        )
    except (OSError, ValueError):  # missing or damaged
        return None


def _identity(path: str) -> str:
    status = os.stat(path)
    return f"{status.st_ino} {status.st_mtime_ns}"


@lru_cache(maxsize=8)
def _index_of(manifest: str, identity: str) -> str:
    """Return the description of the index in a manifest, which Milvus Lite rewrites whenever it changes."""
    with open(manifest, encoding="utf-8") as file:
        specs = json.load(file).get("index_specs")
    return json.dumps(specs, sort_keys=True) if specs else ""
