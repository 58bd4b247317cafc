"""A query: weighted parts, a filter, an order, and how many hits to return."""

from __future__ import annotations

import operator
from contextlib import suppress
from dataclasses import dataclass
from types import NoneType
from typing import Any, SupportsFloat, SupportsIndex

from ..errors import InputError, WrongType
from ..fields import read_id
from .filters import Filter
from .order import RELEVANCE, Order, parse_order

# A path, a URL, a file's bytes, an open file, or an image in memory: a Pillow image, an array or a tensor.
ImageSource = Any

MAX_PARTS = 32
MAX_LIMIT = 16_384  # maximum number of hits that paging can reach; a query without parts has no such limit
BEST = 200
SMALLEST_WEIGHT, LARGEST_WEIGHT = 0.001, 1000.0


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a query: a text, an image, or the id of an image of the collection.

    weight: the weight of its embedding in the query; a negative weight steers away from the part.

    Raises:
        InputError: none or several of the three are given, the text is blank, or the weight is out of range.
    """

    text: str = ""
    image: ImageSource | None = None
    id: int | str | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise WrongType(f"a text to search for is a str, not {type(self.text).__name__}")
        if self.id is not None:
            object.__setattr__(self, "id", _id(self.id))
        object.__setattr__(self, "weight", _number("a weight", self.weight))
        given = [bool(self.text), self.image is not None, self.id is not None]
        if sum(given) > 1:
            raise InputError("each part of a query is one of a text, an image and an id, not several")
        if not any(given) or (self.text and not self.text.strip()):
            raise InputError("give some words to search for, an image or an id", "error_no_words")
        if not SMALLEST_WEIGHT <= abs(self.weight) <= LARGEST_WEIGHT:
            raise InputError(
                f"a weight is between {SMALLEST_WEIGHT} and {LARGEST_WEIGHT:.0f}, or the negative of that, "
                f"not {self.weight:g}", "error_weight", low=str(SMALLEST_WEIGHT), high=f"{LARGEST_WEIGHT:.0f}",
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Query:
    """A query to one collection.

    parts: what to search for. Without parts, all images that match the filter are hits and have no score. `min_score`
        and `fold` then have no effect, and relevance means `date`, or `path` in a collection without dates.
    limit, offset: return `limit` hits after skipping the first `offset`.
    filter: search only images whose columns match; `parse_filter` reads a text.
    dates: more filters, as `parse_line` finds them in a line: `taken:2019..2021`.
    order: the order of the hits, as `parse_order` reads it: `taken:desc`. An order other than relevance sorts all
        images that score at least `min_score`, or without one the `best` images. Rows without a value come last.
    best: how many of the nearest images an order other than relevance sorts.
    min_score: leave out hits below this cosine. Off by default: cosines are not comparable between models, nor
        between texts (CLIP: about 0.2 to 0.35 for a good hit) and images (0.7 and more).
    language: the language of the texts, for example `de`; '' detects it from their letters and words.
    reader: the language of the user; it decides about words that several languages share.
    fold: fold an image into a better hit if their cosine is at least this; the hit counts the images folded into it.
        0.95 folds resized and recompressed copies. Off by default.

    Raises:
        InputError: there is neither a part nor a filter nor an order, there are too many parts, or a number is out of
            range.
    """

    parts: tuple[Part, ...] = ()
    limit: int = 10
    offset: int = 0
    filter: Filter | str | None = None
    min_score: float | None = None
    fold: float | None = None
    language: str = ""
    reader: str = ""
    order: str = RELEVANCE
    best: int = BEST
    dates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_types()
        ordering = self.ordering
        if not (self.parts or self.filter or self.dates) and ordering.is_relevance:
            raise InputError("give some words to search for, an image, an id or a filter")
        if len(self.parts) > MAX_PARTS:
            message = f"a query has at most {MAX_PARTS} parts, not {len(self.parts)}"
            raise InputError(message, "error_many_parts", count=str(MAX_PARTS))
        if self.limit < 1 or self.offset < 0:
            raise InputError("the number of hits must be at least 1, and the offset at least 0")
        if not 1 <= self.best <= MAX_LIMIT:
            raise InputError(f"another order than relevance applies to the best 1 to {MAX_LIMIT} hits, not {self.best}")
        if self.parts and self.offset + self.limit > MAX_LIMIT:
            raise InputError(
                f"only the first {MAX_LIMIT} hits of a query can be reached, not {self.offset + self.limit}: "
                "narrow it with a filter"
            )
        if self.min_score is not None and not -1 <= self.min_score <= 1:
            raise InputError("the minimum score is a cosine, between -1 and 1")
        if self.fold is not None and not 0 < self.fold <= 1:
            raise InputError("the fold threshold is a cosine, above 0 and at most 1; 0.95 folds copies")

    @property
    def ordering(self) -> Order:
        """The parsed order; '' is relevance.

        Raises:
            InputError: the text is not an order.
        """
        return parse_order(self.order or RELEVANCE)

    def _check_types(self) -> None:
        if not isinstance(self.order, str):
            raise WrongType(f"an order is a str, not {type(self.order).__name__}")
        for name in ("limit", "offset", "best"):
            object.__setattr__(self, name, _whole(f"the {name}", getattr(self, name)))
        for name in ("min_score", "fold"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _number(name, getattr(self, name)))
        if not isinstance(self.filter, (str, Filter, NoneType)):
            raise WrongType(f"a filter is a str or a Filter, not {type(self.filter).__name__}")


def _id(value: object) -> int | str:
    """Return an id: a 64-bit integer, given in any integer type, or a text from a CSV."""
    shown = read_id(value) if isinstance(value, str) else _whole("an id", value, "a whole number or a text")
    if shown == "" or (isinstance(shown, int) and not -(2**63) <= shown < 2**63):
        raise InputError(f"id:{value} is not an id: a number has 64 bits, and a text is not blank")
    return shown


def _whole(name: str, value: object, kind: str = "a whole number") -> int:
    """Return an integer of any type, including NumPy's, as an int."""
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        with suppress(TypeError):
            return operator.index(value)
    raise WrongType(f"{name} is {kind}, not {type(value).__name__}")


def _number(name: str, value: object) -> float:
    if isinstance(value, SupportsFloat) and not isinstance(value, bool):
        with suppress(TypeError, ValueError):
            return float(value)
    raise WrongType(f"{name} is a number, not {type(value).__name__}")
