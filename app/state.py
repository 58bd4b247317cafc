"""The page's address: all that is asked of it, and the only place that knows how the two spell each other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from pipelines.query import Part, format_query, parse_query

PAGE = 24
MAX_SHOWN = 960
MAX_TEXT = 2000  # characters; CLIP reads 77 tokens of each part
MAX_FILTER = 4000
MAX_IMAGES = 8
_MAX_ADDRESS = 8_000
_IMAGE = re.compile(r"([0-9a-f]{32})(?:~(-?\d{1,3}(?:\.\d{1,3})?))?")


class QueryImage(NamedTuple):
    """An image given as query, by the key under which `KeptImages` has it."""

    key: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Address:
    """One state of the page. Nothing asked is the start page.

    text: the texts and the collection's own images of the query, in the query language: `beach -id:42`.
    images: images that somebody brought along.
    filter: in the filter language; '' takes all.
    shown: how many results the page shows; more than PAGE after "more results".
    """

    text: str = ""
    images: tuple[QueryImage, ...] = ()
    filter: str = ""
    shown: int = PAGE
    min_score: float | None = None
    fold: float | None = None

    @property
    def is_empty(self) -> bool:
        """Nothing is asked yet."""
        return not self.text and not self.images

    @property
    def parts(self) -> tuple[Part, ...]:
        """The texts and ids of the query.

        Raises:
            InputError: a weight or an id is out of range.
        """
        return parse_query(self.text) if self.text else ()

    @property
    def url(self) -> str:
        """The permalink, relative to the page; what has its default value is left out."""
        given: list[tuple[str, str]] = [("q", self.text)]
        given += [("image", key if weight == 1 else f"{key}~{weight:g}") for key, weight in self.images]
        given += [("filter", self.filter), ("k", "" if self.shown == PAGE else str(self.shown))]
        given += [("min", _number(self.min_score)), ("fold", _number(self.fold))]
        given = [(name, value) for name, value in given if value]
        return f"?{urlencode(given)}" if given else ""

    @classmethod
    def from_url(cls, address: str) -> Address:
        """Reads `?q=…&k=…`. Never fails: what makes no sense is taken as not given, for people edit addresses."""
        try:
            return cls.from_pairs(parse_qsl(address[:_MAX_ADDRESS].lstrip("?"), max_num_fields=40))
        except ValueError:  # more fields than any link of ours has
            return cls()

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[str, str]]) -> Address:
        """As `from_url`, from parameters already taken apart."""
        pairs = list(pairs)
        params = dict(pairs)
        found = [match for name, value in pairs if name == "image" and (match := _IMAGE.fullmatch(value))]
        images = [QueryImage(match[1], float(match[2] or 1)) for match in found]
        return cls(
            clean_text(params.get("q", "")), tuple(images[:MAX_IMAGES]),
            clean_text(params.get("filter", ""), MAX_FILTER), clamp_shown(params.get("k", "")),
            clean_cosine(params.get("min", "")), clean_cosine(params.get("fold", "")),
        )  # fmt: skip

    def asking(self, parts: Sequence[Part], images: Sequence[QueryImage]) -> Address:
        """The same filters for another query, from its first result on."""
        return replace(self, text=format_query(parts), images=tuple(images), shown=PAGE)

    @property
    def words(self) -> str:
        """What stands in the search box: the text as it was typed. The collection's images have places of their own.

        Raises:
            InputError: a weight or an id is out of range.
        """
        texts, stored = self._split()
        if not stored:
            return self.text
        typed = self.text.removesuffix(format_query(stored))
        if typed != self.text and (parse_query(typed) if typed.strip() else ()) == texts:
            return typed.strip()
        return format_query(texts)

    def with_words(self, words: str) -> Address:
        """Other words beside the same images.

        Raises:
            InputError: a weight or an id is out of range.
        """
        _, stored = self._split()
        return replace(self, text=f"{words} {format_query(stored)}".strip(), shown=PAGE)

    def with_part(self, part: Part) -> Address:
        """With one more text or image of the collection."""
        return replace(self, text=f"{self.text} {format_query([part])}".strip(), shown=PAGE)

    def with_weight(self, index: int, weight: float | None) -> Address:
        """One of the parts, or one of the images after them, with another weight; None takes it out."""
        parts, images = list(self.parts), list(self.images)
        if index < len(parts):
            parts[index : index + 1] = [] if weight is None else [replace(parts[index], weight=weight)]
        else:
            index -= len(parts)
            images[index : index + 1] = [] if weight is None else [images[index]._replace(weight=weight)]
        return self.asking(parts, images)

    def _split(self) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
        parts = self.parts
        return tuple(part for part in parts if part.text), tuple(part for part in parts if part.id is not None)

    def unfiltered(self) -> Address:
        """The same query of all images."""
        return Address(self.text, self.images)


def clean_text(text: object, length: int = MAX_TEXT) -> str:
    """One line of at most `length` characters that UTF-8 can spell."""
    words = " ".join(str(text or "").split())[:length]
    return words.encode(errors="ignore").decode()


def clamp_shown(value: object) -> int:
    """A number of results between 1 and MAX_SHOWN."""
    try:
        return min(MAX_SHOWN, max(1, int(str(value))))
    except ValueError:
        return PAGE


def clean_cosine(value: object) -> float | None:
    """A number above 0 and up to 1, to three places; None for everything else."""
    try:
        number = round(float(str(value)), 3)
    except ValueError:
        return None
    return number if 0 < number <= 1 else None


def parse_id(text: str) -> int | None:
    """An image's id, which is a signed 64-bit number and travels as text: JavaScript's numbers have 53 bits."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 19):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
