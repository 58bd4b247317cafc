"""A query: weighted parts, how much of the answer is wanted, and what it is narrowed to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

from ..errors import InputError
from ..milvus.collection import MAX_LIMIT

if TYPE_CHECKING:
    import numpy as np

    from .filters import Filter

# A path, a file's bytes, or uint8[height, width, 3] RGB.
ImageSource = Union[str, "os.PathLike[str]", bytes, "np.ndarray"]

MAX_PARTS = 32
SMALLEST_WEIGHT, LARGEST_WEIGHT = 0.001, 1000.0


@dataclass(frozen=True, slots=True)
class Part:
    """Exactly one of a text, an image, and the id of an image of the collection.

    weight: how much it counts beside the query's other parts; negative steers away from it.

    Raises:
        InputError: none or several are given, the text is blank, or the weight is out of range.
    """

    text: str = ""
    image: ImageSource | None = None
    id: int | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        given = [bool(self.text), self.image is not None, self.id is not None]
        if sum(given) > 1:
            raise InputError("each part of a query is one of a text, an image and an id, not several")
        if not any(given) or (self.text and not self.text.strip()):
            raise InputError("give some words to search for, an image or an id")
        if not SMALLEST_WEIGHT <= abs(self.weight) <= LARGEST_WEIGHT:
            raise InputError(
                f"a weight is between {SMALLEST_WEIGHT} and {LARGEST_WEIGHT:.0f}, or the negative of that, "
                f"not {self.weight:g}"
            )


@dataclass(frozen=True, slots=True)
class Query:
    """One question to a collection.

    limit, offset: the hits wanted: `limit` of them, after the first `offset`.
    filter: narrows the collection by its own columns; a text is read as `parse_filter` does.
    min_score: leaves out hits below this cosine. Off by default: cosines are not comparable between models, nor
        between words (CLIP: about 0.2 to 0.35 for a good hit) and images (0.7 and more).
    fold: shows images whose cosine to a better hit is at least this as part of that hit, with a count; 0.95 folds
        resized and recompressed copies. Off by default.

    Raises:
        InputError: there is no part, or a number is out of range.
    """

    parts: tuple[Part, ...]
    limit: int = 10
    offset: int = 0
    filter: Filter | str | None = None
    min_score: float | None = None
    fold: float | None = None

    def __post_init__(self) -> None:
        if not self.parts:
            raise InputError("give some words to search for, an image or an id")
        if len(self.parts) > MAX_PARTS:
            raise InputError(f"a query has at most {MAX_PARTS} parts, not {len(self.parts)}")
        if self.limit < 1 or self.offset < 0:
            raise InputError("the number of hits must be at least 1, and the offset at least 0")
        if self.offset + self.limit > MAX_LIMIT:
            raise InputError(
                f"only the first {MAX_LIMIT} hits of a query can be reached, not {self.offset + self.limit}: "
                "narrow it with a filter"
            )
        if self.min_score is not None and not -1 <= self.min_score <= 1:
            raise InputError("the minimum score is a cosine, between -1 and 1")
        if self.fold is not None and not 0 < self.fold <= 1:
            raise InputError("the fold threshold is a cosine, above 0 and at most 1; 0.95 folds copies")
