"""The rows of a collection: written only by upsert, looked up, scanned, searched."""

from __future__ import annotations

from collections.abc import Collection as Sized
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from ..errors import InputError
from . import schema
from .connection import call, is_lite
from .index import cosine, search_params
from .lifecycle import INSERT_COMMAND, CollectionBase, CollectionInfo
from .lite import writing

__all__ = ["INSERT_COMMAND", "Collection", "CollectionInfo", "chunked", "hit_row"]

T = TypeVar("T")

# Rows of one RPC: the fastest for Milvus Lite, and far below a server's 64 MB message limit.
ROWS_PER_CALL = 1000
SCAN_ROWS = 4000  # with vectors: 8 MB at 512 dimensions
# A filter or paging can reach this far on a server.
MAX_LIMIT = 16_384


class Collection(CollectionBase):
    """A collection and its rows. Cheap to make; connects on first use; may be shared by threads."""

    def get(self, ids: Sequence[int], output_fields: Sequence[str], strong: bool = True) -> dict[int, dict[str, Any]]:
        """Stored rows by id; unknown ids are left out. `strong` as in `query`."""
        self.load()
        found: dict[int, dict[str, Any]] = {}
        for part in chunked(ids, ROWS_PER_CALL):
            rows = call(
                self.client.get,
                self.name,
                ids=list(part),
                output_fields=[schema.ID, *output_fields],
                **(self._strong if strong else {}),
            )
            found.update((row[schema.ID], row) for row in rows)
        return found

    def ids_of_contents(self, hashes: Sized[str], model_id: str) -> dict[str, int]:
        """Content hash → id of a row that holds it, embedded by this model; unknown ones are left out. No vectors."""
        found: dict[str, int] = {}
        for part in chunked(list(hashes), ROWS_PER_CALL):
            expression = f"{schema.HASH} in {schema.list_literal(part)} and {schema.MODEL} == "
            for row in self.query(expression + schema.text_literal(model_id), [schema.ID, schema.HASH]):
                found[row[schema.HASH]] = row[schema.ID]
        return found

    def scan(self, expression: str, output_fields: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """All rows that match, by id, some thousand at a time; memory for their ids and one part.

        By id, because a collection lists them in an order that inserting in parallel makes differ from run to run.
        """
        if is_lite(self.uri):  # its own iterator looks at every key again for each page
            ids = sorted(row[schema.ID] for row in self.query(expression, [schema.ID]))
            for part in chunked(ids, ROWS_PER_CALL):
                found = self.get(part, output_fields) if output_fields else {key: {schema.ID: key} for key in part}
                yield [found[key] for key in part if key in found]
            return
        # An iterator takes no consistency level. Once a strong read has waited for the latest writes it sees them, too.
        self.count()
        iterator = call(
            self.client.query_iterator,
            self.name,
            batch_size=SCAN_ROWS,
            filter=expression,
            output_fields=[schema.ID, *output_fields],
        )
        try:
            while rows := call(iterator.next):
                yield list(rows)
        finally:
            iterator.close()

    def upsert(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Writes rows (all fields, embedding as float32[dim]); returns how many. Of a key given twice the last wins.

        Raises:
            StoreFull: the disk under a Milvus Lite file is full, or about to be.
        """
        unique = list({row[schema.ID]: row for row in rows}.values())  # Milvus 2.3 stores both otherwise
        with writing(self.uri):
            for part in chunked(unique, ROWS_PER_CALL):
                call(self.client.upsert, self.name, list(part))
        return len(unique)

    def delete(self, ids: Sequence[int]) -> None:
        """Removes rows by id; unknown ids are nothing."""
        with writing(self.uri):
            for part in chunked(ids, ROWS_PER_CALL):
                call(self.client.delete, self.name, ids=list(part))

    def search(
        self,
        embeddings: np.ndarray,
        limit: int,
        expression: str = "",
        output_fields: Sequence[str] = (),
        offset: int = 0,
    ) -> list[list[dict[str, Any]]]:
        """Nearest rows for each of float32[n, dim], best first, as {id, distance, entity: {field: value}}.

        In this program's own collections `distance` is the cosine, whatever the index's metric type.

        Raises:
            InputError: Milvus does not understand the filter, or `offset + limit` is over 16,384.
        """
        if offset + limit > MAX_LIMIT:
            raise InputError(f"only the first {MAX_LIMIT} hits of a query can be reached, not {offset + limit}")
        self.load()
        hits = call(
            self.client.search,
            self.name,
            list(np.asarray(embeddings, np.float32)),
            limit=limit,
            filter=expression,
            # Named always: without names Milvus Lite returns every field, the vector too, and a server none.
            output_fields=list(output_fields) or [schema.ID],
            search_params={"params": search_params(self.uri, self.index.type, offset + limit), "offset": offset},
        )
        if self.index.metric == "L2" and self._is_own:
            for hit in (hit for part in hits for hit in part):
                hit["distance"] = cosine(self.index.metric, hit["distance"])
        return [list(part) for part in hits]


def hit_row(hit: Mapping[str, Any], output_fields: Sequence[str]) -> list[Any]:
    """A hit of `Store.search` as the hub's operator gives it: `[id, score, *output_fields]`."""
    return [hit[schema.ID], hit["distance"], *(hit["entity"].get(field) for field in output_fields)]


def chunked(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Slices of at most `size` items."""
    return (items[start : start + size] for start in range(0, len(items), size))
