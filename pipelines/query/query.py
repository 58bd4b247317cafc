"""A query: weighted parts, a filter, and how many hits to return; and its parts as one line of text.

The command line, the page and the HTTP API read this line by `parse_query`:

| written | means |
| --- | --- |
| `white dog on a beach` | these words, as one text |
| `beach -people` | the beach, and away from people |
| `beach -"many people"` | the same with several words |
| `beach +sunset` | two texts, embedded apart and added; `+"red sunset"` for several words |
| `beach 2*sunset`, `-0.5*people` | with weights (without one it is 1) |
| `id:42`, `-id:42`, `2*id:SKU-1` | like, or unlike, an image of the collection; `id:"A 1"` for an id with spaces |

A sign or a weight counts only at the start of a word and directly before a letter or a quote: "t-shirt", "- 5
degrees", "-5 degrees", "3-door car", "2*4 planks" and "rock -n- roll" are plain words. To search for any text as it
is, write it between `+"` and `"`; inside, write `\\"` for `"` and `\\\\` for `\\`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from types import NoneType
from typing import Any, SupportsFloat, SupportsIndex

from ..errors import InputError, WrongType
from ..fields import read_id
from .filters import Filter

# A path, a URL, a file's bytes, or an image as programs hold it: a Pillow image, an array, a tensor, an open file.
ImageSource = Any

MAX_PARTS = 32
MAX_LIMIT = 16_384  # hits of a query that paging can reach
SMALLEST_WEIGHT, LARGEST_WEIGHT = 0.001, 1000.0
MAX_LENGTH = 4_000  # characters; CLIP reads 77 tokens

# A match without a sign, a weight and an id is a plain word (see `_is_term`).
_TERM = re.compile(
    r"""(?<!\S)(?P<sign>[-+])?(?:(?P<weight>\d{1,4}(?:\.\d{1,24})?)\*)?
    (?:"(?P<phrase>(?:[^"\\]|\\.)*)" | id:(?P<id>[^\s"]+|"(?:[^"\\]|\\.)+") | (?P<word>[^\W\d_]\S*(?<!-)))(?!\S)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a query: a text, an image, or the id of an image of the collection.

    weight: its share in the query; a negative weight steers away from the part.

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
            raise InputError("give some words to search for, an image or an id")
        if not SMALLEST_WEIGHT <= abs(self.weight) <= LARGEST_WEIGHT:
            raise InputError(
                f"a weight is between {SMALLEST_WEIGHT} and {LARGEST_WEIGHT:.0f}, or the negative of that, "
                f"not {self.weight:g}"
            )


@dataclass(frozen=True, slots=True)
class Query:
    """A query to one collection.

    limit, offset: return `limit` hits after skipping the first `offset`.
    filter: only search images whose columns match; a text is read by `parse_filter`.
    min_score: leave out hits below this cosine. Off by default: cosines are not comparable between models, nor
        between texts (CLIP: about 0.2 to 0.35 for a good hit) and images (0.7 and more).
    language: the language of the texts, as `de`; '' tells it from their letters and words.
    reader: the language of the person who asks; it decides on words that several languages have.
    fold: fold an image into a better hit, which then counts it, if their cosine is at least this; 0.95 folds
        resized and recompressed copies. Off by default.

    Raises:
        InputError: there is no part, there are too many, or a number is out of range.
    """

    parts: tuple[Part, ...]
    limit: int = 10
    offset: int = 0
    filter: Filter | str | None = None
    min_score: float | None = None
    fold: float | None = None
    language: str = ""
    reader: str = ""

    def __post_init__(self) -> None:
        self._check_types()
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

    def _check_types(self) -> None:
        for name in ("limit", "offset"):
            object.__setattr__(self, name, _whole(f"the {name}", getattr(self, name)))
        for name in ("min_score", "fold"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _number(name, getattr(self, name)))
        if not isinstance(self.filter, (str, Filter, NoneType)):
            raise WrongType(f"a filter is a str or a Filter, not {type(self.filter).__name__}")


def _id(value: object) -> int | str:
    """Return an id: a whole number of 64 bits of any type, or a text that a CSV gives."""
    shown = read_id(value) if isinstance(value, str) else _whole("an id", value, "a whole number or a text")
    if shown == "" or (isinstance(shown, int) and not -(2**63) <= shown < 2**63):
        raise InputError(f"id:{value} is not an id: a number has 64 bits, and a text is not blank")
    return shown


def _whole(name: str, value: object, kind: str = "a whole number") -> int:
    """Return a whole number of any type, NumPy's too, as an int."""
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        with suppress(TypeError):
            return operator.index(value)
    raise WrongType(f"{name} is {kind}, not {type(value).__name__}")


def _number(name: str, value: object) -> float:
    if isinstance(value, SupportsFloat) and not isinstance(value, bool):
        with suppress(TypeError, ValueError):
            return float(value)
    raise WrongType(f"{name} is a number, not {type(value).__name__}")


def parse_query(text: str) -> tuple[Part, ...]:
    """Read a line of the query language. All plain words together become one part, at the place of the first word.

    Raises:
        InputError: the line is empty or too long, or a weight or an id is out of range.
    """
    if len(text) > MAX_LENGTH:
        raise InputError(f"a query has at most {MAX_LENGTH:,} characters, not {len(text):,}")
    parts: list[Part] = []
    words: list[str] = []
    place, end = 0, 0
    for match in [*filter(_is_term, _TERM.finditer(text)), None]:
        plain = text[end : match.start() if match else None].split()
        if plain and not words:
            place = len(parts)
        words += plain
        if match:
            parts.append(_part(match))
            end = match.end()
    if words:
        parts.insert(place, Part(" ".join(words)))
    if not parts:
        raise InputError("give some words to search for")
    return tuple(parts)


def format_query(parts: Sequence[Part]) -> str:
    """Return the line that `parse_query` reads back as these parts.

    Raises:
        InputError: a part is an image that is not in the collection, which has no text form.
    """
    terms: list[str] = []
    has_plain = False
    for part in parts:
        if part.image is not None:
            raise InputError("an image that is not in the collection cannot be written as text")
        if not has_plain and part.weight == 1 and part.id is None and _is_plain(part.text):
            has_plain = True
            terms.append(part.text)
        else:
            terms.append(_term(part))
    return " ".join(terms)


def _is_term(match: re.Match[str]) -> bool:
    return any(match[group] is not None for group in ("sign", "weight", "id"))


def _part(match: re.Match[str]) -> Part:
    weight = float(match["weight"] or 1) * (-1 if match["sign"] == "-" else 1)
    if match["id"] is not None:
        quoted = match["id"].startswith('"')
        return Part(id=_unescape(match["id"][1:-1]) if quoted else match["id"], weight=weight)
    if match["phrase"] is not None:
        return Part(_unescape(match["phrase"]), weight=weight)
    return Part(match["word"], weight=weight)


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _is_plain(text: str) -> bool:
    return '"' not in text and len(text) <= MAX_LENGTH and parse_query(text) == (Part(text),)


def _term(part: Part) -> str:
    size = abs(part.weight)
    weight = "" if size == 1 else f"{format(Decimal(repr(size)), 'f')}*"
    sign = "-" if part.weight < 0 else ""
    if part.id is not None:
        is_word = isinstance(part.id, int) or re.fullmatch(r'[^\s"]+', part.id)
        return f"{sign}{weight}id:" + (str(part.id) if is_word else f'"{_escape(str(part.id))}"')
    prefix = f"{sign}{weight}" or "+"
    if re.fullmatch(r"[^\W\d_]+", part.text):
        return prefix + part.text
    return f'{prefix}"{_escape(part.text)}"'
