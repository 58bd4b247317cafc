"""A collection: its rows, read, written and searched."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError, StoreError
from ..query import MAX_LIMIT
from . import schema
from .calls import call, chunked
from .definition import Definition
from .index import AUTO, Index, cosine, is_server, resolve, search_params
from .index_build import EXACT_SEGMENT_ROWS, replace_index, unindexed_rows, wait_for_index
from .lite import is_lite, writing
from .lite_search import get_lite, search_lite
from .literals import SMALLEST, ids_on_server
from .moment import Moment
from .schema import CollectionInfo

SCAN_ROWS = 4000  # with vectors: 8 MB at 512 dimensions


class Collection(Definition):
    """A collection in Milvus. Connects on first use. Threads can share it."""

    path_key = schema.PATH  # the field that holds the paths

    def __init__(self, uri: str | os.PathLike[str], name: str, token: str = "") -> None:
        super().__init__(uri, name, token)
        self._moment = Moment()

    def read_as_of_now(self) -> None:
        """Make strong reads see the writes before this call and those of this object, but not always later ones."""
        if not is_lite(self.uri):
            self._moment.move(self.client)

    def model(self, strong: bool = True) -> str:
        """Return the id of the model that made the embeddings, '' for an empty collection. `strong` as in `query`.

        Raises:
            StoreError: another program made the collection, with other fields.
        """
        if not self.is_own:
            raise StoreError(f"collection '{self.name}' was not made by this program; choose another collection")
        rows = self.query("", [schema.MODEL], strong, limit=1)
        return str(rows[0][schema.MODEL]) if rows else ""

    def info(self, strong: bool = True) -> CollectionInfo:
        """Return everything that `info` shows. `strong` as in `query`."""
        self.load()
        waiting = 0
        if is_server(self.uri) and self.index.type != "FLAT":
            waiting = unindexed_rows(self.client, self.name, EXACT_SEGMENT_ROWS + 1)
        return CollectionInfo(
            self.name,
            self.uri,
            self.count(strong=strong),
            self.model(strong),
            self.dim(),
            self.index,
            self.fields(),
            waiting,
        )

    def precisions(self, until: str | None = None) -> list[str]:
        """Return the precisions in which the model computed the embeddings: 'fp32', 'bf16', …; none if unknown.

        Args:
            until: stop once this precision is found. The first row is found at once; finding another precision takes a
                search of all rows.
        """
        found: list[str] = []
        while until not in found and self.is_own and self.version() > 1:
            others = " and ".join(f'{schema.PRECISION} != "{one}"' for one in found)
            rows = self.query(others, [schema.PRECISION], limit=1)
            if not rows:
                break
            found.append(rows[0][schema.PRECISION])
        return sorted(filter(None, found))

    def count(self, expression: str = "", strong: bool = True) -> int:
        """Count the rows that match a filter expression. `strong` as in `query`."""
        rows = self.query(expression, ["count(*)"], strong)
        return int(rows[0]["count(*)"])

    def query(
        self, expression: str, output_fields: Sequence[str], strong: bool = True, **options: Any
    ) -> list[dict[str, Any]]:
        """Return the rows that match a filter expression, without a vector search.

        Args:
            strong: see every acknowledged write; after `read_as_of_now`, those that it describes. On a server a strong
                read takes 0.2 s, after `read_as_of_now` only the first one. Other reads take milliseconds.
        """
        self.load()
        names = self._stored_names(output_fields)
        options |= self._consistency(strong)
        rows = call(self.client.query, self.name, filter=expression, output_fields=names, **options)
        return self._decoded(rows)

    def get(self, ids: Sequence[int], output_fields: Sequence[str], strong: bool = True) -> dict[int, dict[str, Any]]:
        """Return stored rows by id; unknown ids are left out. `strong` as in `query`."""
        self.load()
        names, options = self._stored_names([schema.ID, *output_fields]), self._consistency(strong)
        found: dict[int, dict[str, Any]] = {}
        for part in chunked(ids):
            rows = get_lite(self.address, self.name, part, names) if is_lite(self.uri) and self.is_own else None
            if SMALLEST in part and is_server(self.uri):
                expression = ids_on_server(names[0], part)
                rows = call(self.client.query, self.name, filter=expression, output_fields=names, **options)
            elif rows is None:
                rows = call(self.client.get, self.name, ids=list(part), output_fields=names, **options)
            found.update((row[schema.ID], row) for row in self._decoded(rows))
        return found

    def scan(self, expression: str, output_fields: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """Yield all matching rows, ordered by id, in lists of some thousand. Keeps all ids and one list in memory.

        The rows are ordered because parallel inserts change the order in which a collection lists them.
        """
        if is_lite(self.uri):  # Milvus Lite's own iterator walks every key again for each page
            ids = sorted(row[schema.ID] for row in self.query(expression, [schema.ID]))
            for part in chunked(ids):
                found = self.get(part, output_fields) if output_fields else {key: {schema.ID: key} for key in part}
                yield [found[key] for key in part if key in found]
            return
        # An iterator takes no consistency level, but after a strong read it sees the latest writes too.
        self.count()
        names = self._stored_names([schema.ID, *output_fields])
        iterator = call(
            self.client.query_iterator, self.name, batch_size=SCAN_ROWS, filter=expression, output_fields=names
        )
        try:
            while rows := call(iterator.next):
                yield self._decoded(rows)
        finally:
            iterator.close()

    def search(
        self, embeddings: np.ndarray, limit: int, expression: str = "", output_fields: Sequence[str] = ()
    ) -> list[list[list[Any]]]:
        """Return the nearest rows for each of float32[n, dim], best first, each as `[id, score, *output_fields]`.

        The score is the cosine, whatever the metric type, or Milvus's distance if the embeddings may not have length 1.

        Raises:
            InputError: Milvus does not understand the filter expression, or `limit` is over 16,384.
        """
        if limit > MAX_LIMIT:  # a server returns no more
            raise InputError(f"only the first {MAX_LIMIT} hits of a query can be reached, not {limit}")
        self.load()
        queries = np.asarray(embeddings, np.float32)
        # Never empty: without names Milvus Lite returns every field, with the vector, and a server returns none.
        names = self._stored_names(output_fields) or [schema.ID]
        params = search_params(self.uri, self.index.type, limit, bool(expression))
        hits: Any = None
        if is_lite(self.uri) and self.is_own:
            hits = search_lite(self.address, self.name, queries, limit, expression, names, params)
        if hits is None:
            hits = call(
                self.client.search, self.name, list(queries), limit=limit, filter=expression, output_fields=names,
                search_params={"params": params},
            )  # fmt: skip
        metric = self.index.metric if self.index.metric == "L2" and self._is_unit else ""
        found = []
        for part in hits:
            if not output_fields:
                scored = zip(part.ids, part.distances, strict=True)
                found.append([[key, cosine(metric, distance)] for key, distance in scored])
                continue
            rows = self._decoded([{schema.ID: hit[schema.ID], **hit["entity"]} for hit in part])
            scores = [cosine(metric, hit["distance"]) for hit in part]
            cells = [list(map(row.get, output_fields)) for row in rows]
            found.append([[row[schema.ID], score, *own] for row, score, own in zip(rows, scores, cells, strict=True)])
        return found

    def upsert(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Write rows (all fields, embedding as float32[dim]) and return how many. The last row of an id wins.

        Raises:
            StoreFull: the disk under a Milvus Lite file is full, or about to be.
        """
        unique = list({row[schema.ID]: row for row in rows}.values())  # Milvus 2.3 would store all rows of an id
        with writing(self.uri):
            for part in chunked(unique):
                call(self.client.upsert, self.name, [schema.encode(row, self.with_sentinel) for row in part])
        self._moment.follow(self.client)
        return len(unique)

    def stored_vector(self, vector: np.ndarray) -> np.ndarray:
        """float32[dim] → float32[dim] as it comes back from the collection."""
        return vector

    def delete(self, ids: Sequence[int]) -> None:
        """Delete rows by id; ignores unknown ids."""
        with writing(self.uri):
            for part in chunked(ids):
                if SMALLEST in part and is_server(self.uri):
                    call(self.client.delete, self.name, filter=ids_on_server(schema.ID, part))
                else:
                    call(self.client.delete, self.name, ids=list(part))
        self._moment.follow(self.client)

    def flush(self) -> None:
        """Seal what was written: it is then durable, fast to search, and counted."""
        with writing(self.uri):
            call(self.client.flush, self.name)

    def optimize(self, requested: Index | None = None, wait: bool = True) -> None:
        """Change to the requested index, or to the one that suits the current number of rows.

        Args:
            wait: wait until a server has built the indexes of all sealed rows.

        Raises:
            StoreError: the index cannot be built; the collection keeps the current one.
        """
        if requested is None:
            requested = Index(AUTO) if is_lite(self.uri) and self.index.type == "FLAT" else Index()
        target = resolve(self.uri, requested, self.count(), self.index)
        if target != self.index:
            with writing(self.uri):
                try:
                    replace_index(self.client, self.uri, self.name, self.index, target)
                finally:
                    self.__dict__.pop("index", None)  # so that it is read again
        if wait and is_server(self.uri) and self.index.type != "FLAT":
            wait_for_index(self.client, self.name)

    @property
    def _is_unit(self) -> bool:
        """Whether all embeddings are known to have length 1."""
        return self.is_own

    def _stored_names(self, names: Iterable[str]) -> list[str]:
        """Return the names of the Milvus fields that hold these fields."""
        return list(names)

    def _decoded(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [schema.decode(row, self.with_sentinel) for row in rows] if self.with_sentinel else list(rows)

    def _consistency(self, strong: bool) -> dict[str, Any]:
        """Return the options of a read. A server may answer as of a second ago; Milvus Lite is always current."""
        return self._moment.consistency() if strong and not is_lite(self.uri) else {}
