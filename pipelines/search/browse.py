"""List rows in the order of a column and count them. None of this needs an embedding."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..fields import KEY, Field, row_id
from ..milvus import schema
from ..milvus.collection import Collection
from ..query import Filter, Order
from ..query.order import DATE, NAME, PATH
from .catalog import Catalog
from .facets import MOST_FOLDERS, Facets, Suggestion, column_facets, folder_tree, suggestions
from .matching import Matched, matching_rows
from .paging import Row


class Browsed(NamedTuple):
    """One page of the rows that match a filter.

    total: number of rows that match the filter.
    of: number of rows in the collection.
    order: the order of the rows.
    age: seconds since the columns were last known to be up to date.
    """

    rows: list[Row]
    total: int
    of: int
    order: Order
    has_more: bool
    age: float


class Browser:
    """Filters, orders and counts the rows of one collection. Threads can share it.

    Args:
        output_fields: fields that each row holds after id, score and model.
    """

    def __init__(self, collection: Collection, fields: tuple[Field, ...], output_fields: Sequence[str]) -> None:
        self._collection, self._fields, self._output_fields = collection, fields, list(output_fields)
        self._names = {field.name for field in fields}
        self._keys = KEY in output_fields
        self.catalog = Catalog(collection, fields, self._keys)

    def prepare(self) -> None:
        """Read the columns, and sort the rows by date, name and path in advance."""
        table = self.catalog.held().table
        for word in (DATE, NAME, PATH):
            with suppress(InputError):  # a collection without dates
                table.ordered(Order(word))

    def page(self, filter: Filter | None, order: Order, offset: int, limit: int) -> Browsed:
        """Return one page of the rows that match a filter, with None as their score.

        Raises:
            InputError: the order names a column that does not exist.
        """
        table, age = self.catalog.held()
        rows = table.ordered(order)
        if filter is not None:
            rows = rows[matching_rows(filter, table)[rows]]
        page = self.rows(table.ids[rows[offset : offset + limit]].tolist())
        return Browsed(page, len(rows), len(table), table.settled(order), len(rows) > offset + limit, age)

    def first_of_each(self, name: str) -> list[int]:
        """Return the id of the first row of each value of a column; the ids of all rows if there is no such column."""
        table = self.catalog.held().table
        rows = np.arange(len(table))
        if name in self._names:
            rows = np.sort(np.unique(table.column(name).values, return_index=True)[1])
        ids: list[int] = table.ids[rows].tolist()
        return ids

    def nearest_values(self, filter: Filter) -> tuple[Suggestion, ...]:
        """Return, for each text in a filter that no row has, the most similar values of its column."""
        return suggestions(filter, self.catalog.held().table)

    def arrange(self, ids: Sequence[int], order: Order) -> list[int]:
        """Return row ids in this order; ids that the columns do not hold yet come last.

        Raises:
            InputError: the order names a column that does not exist.
        """
        table, _ = self.catalog.held()
        ranks = np.empty(len(table) + 1, np.int32)
        ranks[table.ordered(order)] = np.arange(len(table))
        ranks[-1] = len(table)
        found = np.sort(np.asarray(ids, np.int64))
        places = np.minimum(np.searchsorted(table.ids, found), len(table) - 1)
        known = np.where(table.ids[places] == found, places, -1)
        arranged: list[int] = found[np.argsort(ranks[known], kind="stable")].tolist()
        return arranged

    def rows(self, ids: Sequence[int]) -> list[Row]:
        """Return rows by id, with None as their score; deleted rows are left out."""
        names = [schema.MODEL, *self._output_fields]
        found = self._collection.get(ids, names, strong=False)
        return [[image_id, None, *map(found[image_id].get, names)] for image_id in ids if image_id in found]

    def facets(
        self, filter: Filter | None, ids: Sequence[int | str] | None = None, columns: Sequence[str] | None = None,
        folder: str = "", folders: int = MOST_FOLDERS,
    ) -> Facets:  # fmt: skip
        """Count the values, dates and folders of the rows that match a filter, or only of those among `ids`.

        The count of a column ignores the conditions that read that column alone.

        Raises:
            InputError: a column does not exist.
        """
        table, age = self.catalog.held()
        kept = np.ones(len(table), bool)
        if ids is not None:
            kept[:] = False
            kept[table.places([row_id(image_id) for image_id in ids])] = True
        matched = Matched(filter, table, kept)
        tree = folder_tree(table, matched.without(PATH), folder, folders) if folders else ()
        shown, nearest = column_facets(table, matched, columns), suggestions(filter, table)
        return Facets(int(matched.rows.sum()), len(table), shown, tree, nearest, age)
