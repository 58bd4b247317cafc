"""One search of the page, read once from its address, and the addresses of the searches that its links lead to."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlencode

from pipelines.errors import InputError
from pipelines.query import MAX_PARTS, Filter, Part, format_query, parse_filter, parse_query

PAGE = 24  # results
MAX_SHOWN = 960
MAX_TEXT = 2000  # characters; CLIP reads 77 tokens of each part
MAX_FILTER = 4000
MAX_IMAGES = 8
_MAX_URL = 8_000
_IMAGE = re.compile(r"([0-9a-f]{32})(?:~(-?\d{1,3}(?:\.\d{1,3})?))?")

T = TypeVar("T")


class UploadedImage(NamedTuple):
    """An uploaded image in a query, by the key under which `QueryImages` keeps it."""

    key: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class SearchState:
    """What the page searches for and how much of it is shown. The empty state is the start page.

    text: the query line as typed, with images of the collection: `beach -id:42`.
    parts: the parsed query line; empty if `text_error` says why it cannot be read.
    images: uploaded images.
    filter_text: the filter as typed; '' searches the whole collection.
    filter: the parsed filter; None if there is none or `filter_error` says why it cannot be read.
    shown: number of results on the page; above PAGE after "More results".
    """

    text: str = ""
    parts: tuple[Part, ...] = ()
    images: tuple[UploadedImage, ...] = ()
    filter_text: str = ""
    filter: Filter | None = None
    shown: int = PAGE
    min_score: float | None = None
    fold: float | None = None
    text_error: InputError | None = None
    filter_error: InputError | None = None

    @classmethod
    def from_url(cls, url: str) -> SearchState:
        """Read `?q=…&k=…`. Never raises: invalid parameters fall back to their defaults."""
        try:
            pairs = parse_qsl(url[:_MAX_URL].lstrip("?"), max_num_fields=40)
        except ValueError:  # more fields than the page ever writes
            return cls()
        given = dict(pairs)
        images = [match for name, value in pairs if name == "image" and (match := _IMAGE.fullmatch(value))]
        filter_text = clean_text(given.get("filter", ""), MAX_FILTER)
        condition, filter_error = _read(parse_filter, filter_text)
        state = cls(
            images=tuple(UploadedImage(match[1], float(match[2] or 1)) for match in images[:MAX_IMAGES]),
            filter_text=filter_text, filter=condition, filter_error=filter_error,
            shown=_clean_shown(given.get("k", "")), min_score=clean_cosine(given.get("min", "")),
            fold=clean_cosine(given.get("fold", "")),
        )  # fmt: skip
        return state._with_line(clean_text(given.get("q", "")))

    @property
    def url(self) -> str:
        """The permalink, relative to the page. Parameters with default values are left out."""
        given = [("q", self.text)]
        given += [("image", key if weight == 1 else f"{key}~{weight:g}") for key, weight in self.images]
        given += [("filter", self.filter_text), ("k", "" if self.shown == PAGE else str(self.shown))]
        given += [(name, f"{number:g}") for name, number in (("min", self.min_score), ("fold", self.fold)) if number]
        given = [(name, value) for name, value in given if value]
        return f"?{urlencode(given)}" if given else ""

    @property
    def is_empty(self) -> bool:
        """Whether the query has neither text nor images."""
        return not self.text and not self.images

    @property
    def is_full(self) -> bool:
        """Whether the query has no room for another part, or cannot be read."""
        return self.text_error is not None or len(self.parts) + len(self.images) >= MAX_PARTS

    @property
    def error(self) -> InputError | None:
        """Why this state cannot be searched for."""
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
        return format_query([part for part in self.parts if part.id is None])  # images stand between the words

    def with_text(self, text: str) -> SearchState:
        """Replace the texts of the query and keep its images."""
        images = self._stored
        state = self._with_line(text)
        line = f"{text} {format_query(images)}".strip()
        return replace(state, text=line, parts=(*state.parts, *images), shown=PAGE)

    def with_query(self, parts: Sequence[Part], images: Sequence[UploadedImage]) -> SearchState:
        """Replace the query and keep the filters."""
        return replace(
            self, text=format_query(parts), parts=tuple(parts), images=tuple(images), text_error=None, shown=PAGE
        )

    def with_filter(self, condition: Filter | None, min_score: float | None, fold: float | None) -> SearchState:
        """Replace the filters and keep the query."""
        text = "" if condition is None else str(condition)
        return replace(
            self, filter=condition, filter_text=text, filter_error=None, min_score=min_score, fold=fold, shown=PAGE
        )

    def url_with_image(self, image_id: int | str) -> str:
        """Link to this search with one more image of the collection in its query."""
        return replace(self, text=_join(self.text, image_id), shown=PAGE).url

    def url_of_similar(self, image_id: int | str) -> str:
        """Link to the images that look like one of the collection, without the filters."""
        return SearchState(_join("", image_id), fold=self.fold).url

    def url_with_weight(self, index: int, weight: float | None) -> str:
        """Link to this search with another weight of one part; None removes the part.

        Args:
            index: place among the parts, followed by the uploaded images.
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

    def _with_line(self, line: str) -> SearchState:
        parts, error = _read(parse_query, line)
        return replace(self, text=line, parts=parts or (), text_error=error)


def clean_text(text: object, length: int = MAX_TEXT) -> str:
    """Return one line of at most `length` characters that UTF-8 can encode."""
    words = " ".join(str(text or "").split())[:length]
    return words.encode(errors="ignore").decode()


def clean_cosine(value: object) -> float | None:
    """Return a number above 0 and up to 1, rounded to three places; None for anything else."""
    try:
        number = round(float(str(value)), 3)
    except ValueError:
        return None
    return number if 0 < number <= 1 else None


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
