"""The index of a collection as Milvus holds it: read, built, replaced, loaded, waited for."""

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

# Servers accept these, but some never finish them (2.3's own package, for one): they are built with a deadline.
SLOW_BUILDS = frozenset({"DISKANN"})
SLOW_BUILD_SECONDS = 900
# Rows from which a server builds an index for a segment, and seconds to wait until it has.
INDEXED_SEGMENT_ROWS = 1_024
INDEX_SECONDS = 300
# A temporary index of up to 16 lists is probed whole.
EXACT_SEGMENT_ROWS = 16 * 39 + 38


def index_params(client: MilvusClient, index: Index) -> IndexParams:
    """Return the parameters that `create_collection` and `create_index` take."""
    params = client.prepare_index_params()
    # pymilvus flattens these, and Milvus Lite reads only a nested 'params': so they are given in both forms.
    given = {**index.params, "wanted": index.wanted} if index.wanted else index.params
    build = {**given, "params": dict(given)} if given else {}
    params.add_index(EMBEDDING, index_type=index.type, metric_type=index.metric, params=build)
    return params


def read_index(client: MilvusClient, collection: str) -> Index:
    """Return the present index of a collection."""
    names = call(client.list_indexes, collection)
    return Index.described(call(client.describe_index, collection, names[0]) or {} if names else {})


def build_index(client: MilvusClient, collection: str, index: Index, waits: bool = True) -> None:
    """Build an index and wait for it. A build of minutes breaks the call; the retry then finds the index built.

    Without `waits` it is only asked for: pymilvus sleeps half a second before it first looks whether it is built, and
    that of an empty collection, or of any on Milvus Lite, is built when the call returns.
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
        # An index file that was half written stops every load. Milvus Lite builds a deleted one again.
        if not is_lite(uri) or not delete_index_files(uri, collection):
            raise
        try:
            call(client.load_collection, collection)
        except StoreError:
            raise error from None
    if is_lite(uri):  # rows replayed from the log are searched one by one in Python, 50 µs each
        with suppress(StoreFull, StoreReadOnly), writing(uri):  # a disk too full to write on can still be read
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
    """Count a server's rows in loaded, sealed segments of `at_least` rows that have no index of their own yet."""
    segments = call(client.list_loaded_segments, collection)
    return sum(
        segment.num_rows
        for segment in segments
        if segment.num_rows >= at_least and str(segment.state).endswith("Sealed") and not segment.index_name
    )


def wait_for_index(client: MilvusClient, collection: str) -> None:
    """Wait until a server has built the index of every segment that gets one; it says "Finished" long before."""
    deadline = time.monotonic() + INDEX_SECONDS
    while unindexed_rows(client, collection, INDEXED_SEGMENT_ROWS) and time.monotonic() < deadline:
        time.sleep(1)


def _drop_index(client: MilvusClient, collection: str) -> None:
    call(client.release_collection, collection)
    call(client.drop_index, collection, EMBEDDING)
