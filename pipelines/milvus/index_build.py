"""Read, build, replace, load and wait for the index of a collection in Milvus."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import StoreError, StoreFull, StoreReadOnly
from ..fields import EMBEDDING
from .calls import call
from .index import Index, resolve
from .lite import delete_index_files, is_lite, writing

if TYPE_CHECKING:
    from pymilvus import MilvusClient
    from pymilvus.milvus_client import IndexParams

# Servers accept these types, but some never finish building them (the 2.3 package, for one), so they get a deadline.
SLOW_BUILDS = frozenset({"DISKANN"})
SLOW_BUILD_SECONDS = 900
# Minimum number of rows of a segment for which a server builds an index, and seconds to wait for it.
INDEXED_SEGMENT_ROWS = 1_024
INDEX_SECONDS = 300
# Rows of the largest segment whose temporary index has at most 16 lists: a server probes all of them.
EXACT_SEGMENT_ROWS = 16 * 39 + 38


def index_params(client: MilvusClient, index: Index) -> IndexParams:
    """Return the parameters that `create_collection` and `create_index` take."""
    params = client.prepare_index_params()
    # Given in both forms, because pymilvus flattens parameters and Milvus Lite reads only a nested 'params'.
    given = {**index.params, "wanted": index.wanted} if index.wanted else index.params
    build = {**given, "params": dict(given)} if given else {}
    params.add_index(EMBEDDING, index_type=index.type, metric_type=index.metric, params=build)
    return params


def read_index(client: MilvusClient, collection: str) -> Index:
    """Return the current index of a collection."""
    names = call(client.list_indexes, collection)
    return Index.described(call(client.describe_index, collection, names[0]) or {} if names else {})


def build_index(client: MilvusClient, collection: str, index: Index, waits: bool = True) -> None:
    """Build an index and wait for it. A build that takes minutes breaks the call; the retry then finds it built.

    Without `waits` it is only requested, because pymilvus sleeps half a second before its first check. The index of an
    empty collection, or of any collection on Milvus Lite, is already built when the call returns.
    """
    options: dict[str, float] = {"timeout": SLOW_BUILD_SECONDS} if index.type in SLOW_BUILDS else {}
    try:
        call(client.create_index, collection, index_params(client, index), sync=waits, **options)
    except StoreError as error:
        if "already exist" not in str(error):
            raise


def load_collection(client: MilvusClient, uri: str, collection: str) -> None:
    """Load a collection with its index, and repair an index that a killed process left missing or damaged."""
    if not call(client.list_indexes, collection):  # the process was killed while it replaced the index
        build_index(client, collection, resolve(uri, Index(), rows=0), waits=not is_lite(uri))
    try:
        call(client.load_collection, collection)
    except StoreError as error:
        # A half-written index file makes every load fail. Milvus Lite rebuilds index files that are deleted.
        if not is_lite(uri) or not delete_index_files(uri, collection):
            raise
        try:
            call(client.load_collection, collection)
        except StoreError:
            raise error from None
    if is_lite(uri):  # rows replayed from the log are searched one by one in Python, 50 µs each
        with suppress(StoreFull, StoreReadOnly), writing(uri):  # a full disk can still be read
            call(client.flush, collection)


def replace_index(client: MilvusClient, uri: str, collection: str, current: Index, new: Index) -> None:
    """Build another index in place of the current one, and load the collection again.

    Raises:
        StoreError: the new index cannot be built; the collection has the current one again.
    """
    waits = not is_lite(uri)
    _drop_index(client, collection)
    try:
        build_index(client, collection, new, waits)
    except StoreError as error:
        with suppress(StoreError):
            _drop_index(client, collection)
        build_index(client, collection, current, waits)
        raise StoreError(f"index {new} could not be built ({error}); the collection keeps {current}") from error
    finally:
        call(client.load_collection, collection)


def unindexed_rows(client: MilvusClient, collection: str, at_least: int) -> int:
    """Count a server's rows in loaded, sealed segments of at least `at_least` rows that have no index yet."""
    segments = call(client.list_loaded_segments, collection)
    return sum(
        segment.num_rows
        for segment in segments
        if segment.num_rows >= at_least and str(segment.state).endswith("Sealed") and not segment.index_name
    )


def wait_for_index(client: MilvusClient, collection: str) -> None:
    """Wait until a server has built the index of every segment that gets one; it says "Finished" long before that."""
    deadline = time.monotonic() + INDEX_SECONDS
    while unindexed_rows(client, collection, INDEXED_SEGMENT_ROWS) and time.monotonic() < deadline:
        time.sleep(1)


def _drop_index(client: MilvusClient, collection: str) -> None:
    call(client.release_collection, collection)
    call(client.drop_index, collection, EMBEDDING)
