"""One search of the page, parsed from its URL, and the URLs of the searches to which its links lead."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode

from pipelines.errors import InputError
from pipelines.query import MAX_PARTS, Filter, Line, Part, format_query, parse_filter, parse_line, parse_order

from .given_image import GivenImage, split_addresses

PAGE = 24  # results
MAX_SHOWN = 960  # results that a URL loads at once; scrolling loads all others
MAX_TEXT = 2000  # characters; CLIP reads 77 tokens of each part
MAX_FILTER = 4000
MAX_ORDER = 300
MAX_IMAGES = 8
FOLD = 0.95  # minimum cosine of near-duplicates
_MAX_URL = 8_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SearchState:
    """What the page searches for, and how many results it shows. The empty state is the start page.

    text: the query line as typed, with images of the collection: `beach -id:42`.
    parts, dates: the parsed query line; empty if it cannot be parsed, which `text_error` explains.
    images: uploaded images, and images at web addresses.
    filter_text: the filter as typed; '' searches the whole collection.
    filter: the parsed filter; None if there is none or if it cannot be parsed, which `filter_error` explains.
    order: in the form that `parse_order` parses; '' is the order of relevance.
    shown: number of results at first; scrolling loads more.
    fold: minimum cosine of near-duplicates, which share one card; None shows each of them.
    """

    text: str = ""
    parts: tuple[Part, ...] = ()
    dates: tuple[str, ...] = ()
    images: tuple[GivenImage, ...] = ()
    filter_text: str = ""
    filter: Filter | None = None
    order: str = ""
    shown: int = PAGE
    min_score: float | None = None
    fold: float | None = FOLD
    text_error: InputError | None = None
    filter_error: InputError | None = None

    @classmethod
    def from_url(cls, url: str) -> SearchState:
        """Parse `?q=…&k=…`. Never raises, because invalid parameters fall back to their defaults."""
        try:
            pairs = parse_qsl(url[:_MAX_URL].lstrip("?"), max_num_fields=40)
        except ValueError:  # more fields than the page ever writes
            return cls()
        given = dict(pairs)
        line, addresses = split_addresses(clean_text(given.get("q", "")))
        images = [GivenImage.read(clean_text(value)) for name, value in pairs if name == "image"]
        images += map(GivenImage, addresses)
        filter_text = clean_text(given.get("filter", ""), MAX_FILTER)
        condition, filter_error = _read(parse_filter, filter_text)
        state = cls(
            images=tuple(filter(None, images))[:MAX_IMAGES],
            filter_text=filter_text, filter=condition, filter_error=filter_error,
            order=_clean_order(given.get("sort", "")), shown=_clean_shown(given.get("k", "")),
            min_score=clean_cosine(given.get("min", "")), fold=_clean_fold(given.get("fold", "")),
        )  # fmt: skip
        return state.with_line(line)

    @property
    def url(self) -> str:
        """The permalink, relative to the page. Parameters that have their default values are left out."""
        given = [("q", self.text)]
        given += [("image", str(image)) for image in self.images]
        given += [("filter", self.filter_text), ("sort", self.order)]
        given += [("k", "" if self.shown == PAGE else str(self.shown))]
        given += [("min", f"{self.min_score:g}" if self.min_score else "")]
        given += [("fold", "" if self.fold == FOLD else f"{self.fold or 0:g}")]
        given = [(name, value) for name, value in given if value]
        return f"?{urlencode(given)}" if given else ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to search for, filter by or order by."""
        return not (self.text or self.images or self.filter_text or self.order)

    @property
    def is_full(self) -> bool:
        """Whether the query has no room for another part, or cannot be parsed."""
        return self.text_error is not None or len(self.parts) + len(self.images) >= MAX_PARTS

    @property
    def error(self) -> InputError | None:
        """The error because of which this state cannot be searched; None if it can."""
        return self.text_error or self.filter_error

    @property
    def words(self) -> str:
        """The text for the search box: the line as typed, without images of the collection."""
        stored = self._stored
        if not stored:
            return self.text
        typed = self.text.removesuffix(format_query(stored))
        if not typed or (typed != self.text and typed.endswith(" ")):
            return typed.strip()
        words = [part for part in self.parts if part.id is None]  # there are images between the words
        return format_query(words, self.dates)

    def with_text(self, text: str) -> SearchState:
        """Replace the texts and dates of the query, and keep its images."""
        images = self._stored
        state = self.with_line(text)
        line = f"{text} {format_query(images)}".strip()
        return replace(state, text=line, parts=(*state.parts, *images), shown=PAGE)

    def with_image(self, name: str) -> SearchState:
        """Add an image that the reader provides, unless it is already in the query.

        Raises:
            InputError: the query has no room for it.
        """
        if any(image.name == name for image in self.images):
            return self
        if self.is_full or len(self.images) >= MAX_IMAGES:
            raise InputError(f"a query has at most {MAX_IMAGES} images", "error_many_images", count=str(MAX_IMAGES))
        return replace(self, images=(*self.images, GivenImage(name)), shown=PAGE)

    def without_ids(self, ids: Collection[int | str]) -> SearchState:
        """Remove these images of the collection from the query, and keep everything else."""
        if not ids:
            return self
        return self.with_query([part for part in self.parts if part.id is None or part.id not in ids], self.images)

    def with_query(self, parts: Sequence[Part], images: Sequence[GivenImage]) -> SearchState:
        """Replace the query and keep the filters."""
        return replace(
            self,
            text=format_query(parts, self.dates),
            parts=tuple(parts),
            images=tuple(images),
            text_error=None,
            shown=PAGE,
        )

    def with_filter(self, condition: Filter | None, min_score: float | None, fold: float | None) -> SearchState:
        """Replace the filters and keep the query."""
        text = "" if condition is None else str(condition)
        return replace(
            self, filter=condition, filter_text=text, filter_error=None, min_score=min_score, fold=fold, shown=PAGE
        )

    def with_order(self, order: str) -> SearchState:
        """Replace the order. An empty or invalid text means the order of relevance."""
        return replace(self, order=_clean_order(order), shown=PAGE)

    def url_with_image(self, image_id: int | str) -> str:
        """Return the URL of this search with one more image of the collection in its query."""
        return replace(self, text=_join(self.text, image_id), shown=PAGE).url

    def url_of_similar(self, image_id: int | str) -> str:
        """Return the URL of a search for images similar to one of the collection, without the filters."""
        return SearchState(_join("", image_id), fold=self.fold).url

    def url_of_alike(self, image_id: int | str) -> str:
        """Return the URL of a search for the near-duplicates that are folded into an image."""
        text = _join("", image_id)
        return SearchState(text, filter_text=self.filter_text, min_score=self.fold, fold=None).url

    def url_with_weight(self, index: int, weight: float | None) -> str:
        """Return the URL of this search with another weight for one part; None removes the part.

        Args:
            index: position of the part; the `images` follow after the `parts`.
        """
        parts, images = list(self.parts), list(self.images)
        if index < len(parts):
            parts[index : index + 1] = [] if weight is None else [replace(parts[index], weight=weight)]
        else:
            index -= len(parts)
            images[index : index + 1] = [] if weight is None else [images[index]._replace(weight=weight)]
        return self.with_query(parts, images).url

    @property
    def _stored(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.id is not None)

    def with_line(self, line: str) -> SearchState:
        """Replace the whole query line, including its images of the collection."""
        read, error = _read(parse_line, line)
        read = read or Line()
        return replace(self, text=line, parts=read.parts, dates=read.dates, text_error=error)


def clean_text(text: object, length: int = MAX_TEXT) -> str:
    """Return the text as one line of at most `length` characters, all of which UTF-8 can encode."""
    words = " ".join(str(text or "").split())[:length]
    return words.encode(errors="ignore").decode()


def clean_cosine(value: object) -> float | None:
    """Return a number above 0 and up to 1, rounded to three decimal places; None for anything else."""
    try:
        number = round(float(str(value)), 3)
    except ValueError:
        return None
    return number if 0 < number <= 1 else None


def _clean_order(text: str) -> str:
    """Return an order; '' for relevance and for an invalid text."""
    order, _ = _read(parse_order, clean_text(text, MAX_ORDER))
    return "" if order is None or order.is_relevance else str(order)


def _clean_fold(value: str) -> float | None:
    return None if value == "0" else clean_cosine(value) or FOLD


def _clean_shown(value: str) -> int:
    try:
        return min(MAX_SHOWN, max(1, int(value)))
    except ValueError:
        return PAGE


def _read(parse: Callable[[str], T], text: str) -> tuple[T | None, InputError | None]:
    try:
        return parse(text) if text else None, None
    except InputError as error:
        return None, error


def _join(line: str, image_id: int | str) -> str:
    return f"{line} {format_query([Part(id=image_id)])}".lstrip()
