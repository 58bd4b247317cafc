"""Queries as one line of text, for the search box, the command line and the HTTP API.

| written | means |
| --- | --- |
| `white dog on a beach` | these words, as one text |
| `beach -people` | near the beach, and away from people |
| `beach -"many people"` | the same with several words |
| `beach +sunset` | two texts, embedded separately and added; `+"red sunset"` for several words |
| `beach 2*sunset`, `-0.5*people` | with weights (without one it is 1) |
| `id:42`, `-id:42`, `2*id:SKU-1` | like, or unlike, an image of the collection; `id:"A 1"` for an id with spaces |
| `beach taken:2021-05` | images of this month; also a year, a day, `taken:2019..2021`, `taken:2019..`, `-taken:2020` |

A sign or a weight counts only at the start of a word and directly before a letter or a quote: "t-shirt", "- 5
degrees", "-5 degrees", "3-door car", "2*4 planks" and "rock -n- roll" are plain words. To search for any text as it
is, write it between `+"` and `"`; inside, write `\\"` for `"` and `\\\\` for `\\`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from ..errors import InputError
from .date_terms import PATTERN, is_date_term
from .query import Part

MAX_LENGTH = 4_000  # characters; CLIP reads 77 tokens

# A match without a sign, a weight, an id or a valid date is a plain word (see `_is_term`).
_TERM = re.compile(
    rf"""(?<!\S)(?P<date>-?(?!id:){PATTERN})(?!\S)|"""
    r"""(?<!\S)(?P<sign>[-+])?(?:(?P<weight>\d{1,4}(?:\.\d{1,24})?)\*)?
    (?:"(?P<phrase>(?:[^"\\]|\\.)*)" | id:(?P<id>[^\s"]+|"(?:[^"\\]|\\.)+") | (?P<word>[^\W\d_]\S*(?<!-)))(?!\S)""",
    re.VERBOSE | re.DOTALL,
)


class Line(NamedTuple):
    """A parsed line: its parts, and its dates as written, which `date_filter` reads."""

    parts: tuple[Part, ...] = ()
    dates: tuple[str, ...] = ()


def parse_line(text: str) -> Line:
    """Read a line of the query language. All plain words become one part, at the position of the first of them.

    Raises:
        InputError: the line is empty or too long, or a weight or an id is out of range.
    """
    if len(text) > MAX_LENGTH:
        raise InputError(f"a query has at most {MAX_LENGTH:,} characters, not {len(text):,}")
    parts: list[Part] = []
    dates: list[str] = []
    words: list[str] = []
    place, end = 0, 0
    for match in [*filter(_is_term, _TERM.finditer(text)), None]:
        plain = text[end : match.start() if match else None].split()
        if plain and not words:
            place = len(parts)
        words += plain
        if match:
            if match["date"]:
                dates.append(match["date"])
            else:
                parts.append(_part(match))
            end = match.end()
    if words:
        parts.insert(place, Part(" ".join(words)))
    if not parts and not dates:
        raise InputError("give some words to search for", "error_no_words")
    return Line(tuple(parts), tuple(dates))


def parse_query(text: str) -> tuple[Part, ...]:
    """Read a line without dates; `parse_line` also reads lines with dates.

    Raises:
        InputError: as for `parse_line`, or the line has dates.
    """
    line = parse_line(text)
    if line.dates:
        raise InputError(f"'{line.dates[0]}' is a filter and no part of a query: read it by parse_line")
    return line.parts


def format_query(parts: Sequence[Part], dates: Sequence[str] = ()) -> str:
    """Return the line that `parse_line` reads back as these parts and dates.

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
    return " ".join([*terms, *dates])


def _is_term(match: re.Match[str]) -> bool:
    if match["date"]:
        return is_date_term(match["date"])
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
    return '"' not in text and len(text) <= MAX_LENGTH and parse_line(text) == Line((Part(text),))


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
