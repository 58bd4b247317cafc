"""What is asked of the page, and its permalink: the only place that knows how the two spell each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

DEFAULT_LIMIT = 24
MAX_LIMIT = 200
MAX_TEXT = 300  # characters; CLIP reads 77 tokens
_MAX_ADDRESS = 8_000


@dataclass(frozen=True, slots=True)
class Query:
    """One search. At most one of `text`, `like` and `picture` is set; none of them is the start page.

    like: id of a picture of the collection whose neighbours are wanted.
    picture: an uploaded picture's bytes; it has no permalink, for the upload is not kept.
    label: only pictures with this label; '' takes all.
    """

    text: str = ""
    like: int | None = None
    picture: bytes | None = None
    limit: int = DEFAULT_LIMIT
    label: str = ""

    @property
    def is_empty(self) -> bool:
        """Nothing is asked yet."""
        return not self.text and self.like is None and self.picture is None

    @property
    def url(self) -> str:
        """The permalink, relative to the page; what has its default value is left out."""
        if self.picture is not None:
            return "#picture"
        asked = {"q": self.text, "like": "" if self.like is None else str(self.like), "label": self.label}
        asked["k"] = "" if self.limit == DEFAULT_LIMIT else str(self.limit)
        given = {name: value for name, value in asked.items() if value}
        return f"?{urlencode(given)}" if given else ""

    @classmethod
    def from_url(cls, address: str) -> Query:
        """Reads `?q=…&k=…`. Never fails: what makes no sense is taken as not given, for people edit addresses."""
        try:
            return cls.from_params(dict(parse_qsl(address[:_MAX_ADDRESS].lstrip("?"), max_num_fields=20)))
        except ValueError:  # more fields than any link of ours has
            return cls()

    @classmethod
    def from_params(cls, params: Mapping[str, str]) -> Query:
        """As `from_url`, from parameters already taken apart."""
        like = parse_id(params.get("like", ""))
        text = "" if like is not None else clean_text(params.get("q", ""))
        return cls(text, like, None, clamp_limit(params.get("k", "")), clean_text(params.get("label", "")))


def clean_text(text: object) -> str:
    """One line of at most MAX_TEXT characters that UTF-8 can spell."""
    words = " ".join(str(text or "").split())[:MAX_TEXT]
    return words.encode(errors="ignore").decode()


def clamp_limit(value: object) -> int:
    """A number of results between 1 and MAX_LIMIT."""
    try:
        return min(MAX_LIMIT, max(1, int(str(value))))
    except ValueError:
        return DEFAULT_LIMIT


def parse_id(text: str) -> int | None:
    """A picture's id, which is a signed 64-bit number and travels as text: JavaScript's numbers have 53 bits."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 19):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None
