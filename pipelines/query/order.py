"""The order of hits: `relevance`, `date`, `taken:desc`, `name`, `path`, or any other column."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InputError
from .filters import format_column

RELEVANCE, DATE, NAME, PATH = "relevance", "date", "name", "path"
WORDS = (RELEVANCE, DATE, NAME, PATH)
MAX_LENGTH = 300
_ORDER = re.compile(r"(?:`(?P<quoted>(?:[^`]|``)+)`|(?P<plain>[^`]+?))(?::(?P<direction>asc|desc))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Order:
    """An order. `str()` returns text that `parse_order` reads back.

    by: one of WORDS, or a column. `relevance` puts the nearest first; `date` is the column `taken`, or `modified` where
        that is empty; `name` is the file name and `path` the whole path, ignoring case and with numbers by value.
    is_column: whether `by` names a column although it is one of WORDS.
    descending: None puts the newest dates first and sorts everything else in ascending order.
    """

    by: str = RELEVANCE
    descending: bool | None = None
    is_column: bool = False

    def __str__(self) -> str:
        quoted = f"`{self.by.replace('`', '``')}`" if self.is_column else format_column(self.by)
        return quoted + {None: "", True: ":desc", False: ":asc"}[self.descending]

    @property
    def is_relevance(self) -> bool:
        """Whether the hits stay in the order of their scores."""
        return self.by == RELEVANCE and not self.is_column


def parse_order(text: str) -> Order:
    """Read an order. A column whose name is one of WORDS is written in backticks.

    Raises:
        InputError: the text is not an order.
    """
    match = _ORDER.fullmatch(text.strip()) if len(text) <= MAX_LENGTH else None
    if match is None:
        raise InputError(
            f"'{text[:30]}' is not an order: write relevance, date, name, path or a column, then :asc or :desc"
        )
    direction = {None: None, "asc": False, "desc": True}[match["direction"]]
    quoted = (match["quoted"] or "").replace("``", "`")
    order = Order(quoted or match["plain"], direction, quoted in WORDS)
    if order.is_relevance and direction is not None:
        raise InputError("relevance has one direction: the nearest first")
    return order
