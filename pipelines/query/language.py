"""The query as one line of text, for the command line, the page and the HTTP API.

| written | means |
| --- | --- |
| `white dog on a beach` | these words, as one text |
| `beach -people` | the beach, and away from people |
| `beach -"many people"` | the same with several words |
| `beach +sunset` | two texts, embedded apart and added; `+"red sunset"` for several words |
| `beach 2*sunset`, `-0.5*people` | with weights (without one it is 1) |
| `id:42`, `-id:42`, `2*id:42` | like, or unlike, an image of the collection |

A sign or a weight counts only at the start of a word and directly before a letter or a quote: "t-shirt", "- 5
degrees", "-5 degrees", "3-door car", "2*4 planks" and "rock -n- roll" are plain words. Text that would be read as
anything else is searched as it stands between `+"` and `"`; there `\\"` and `\\\\` stand for `"` and `\\`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from ..errors import InputError
from .query import Part

MAX_LENGTH = 4_000  # characters; CLIP reads 77 tokens

# Where none of the three groups for sign, weight and id takes part, a match is a plain word (see `_is_term`).
_TERM = re.compile(
    r"""(?<!\S)(?P<sign>[-+])?(?:(?P<weight>\d{1,4}(?:\.\d{1,24})?)\*)?
    (?:"(?P<phrase>(?:[^"\\]|\\.)*)" | id:(?P<id>-?\d{1,19}) | (?P<word>[^\W\d_]\S*(?<!-)))(?!\S)""",
    re.VERBOSE | re.DOTALL,
)


def parse_query(text: str) -> tuple[Part, ...]:
    """Reads a line of the query language. Plain words become one part, at the place of the first of them.

    Raises:
        InputError: it is empty or too long, or a weight or an id is out of range.
    """
    if len(text) > MAX_LENGTH:
        raise InputError(f"a query has at most {MAX_LENGTH:,} characters, not {len(text):,}")
    parts: list[Part] = []
    words: list[str] = []
    place, end = 0, 0
    for match in filter(_is_term, _TERM.finditer(text)):
        before = text[end : match.start()].split()
        if before and not words:
            place = len(parts)
        words += before
        parts.append(_part(match))
        end = match.end()
    after = text[end:].split()
    if after and not words:
        place = len(parts)
    words += after
    if words:
        parts.insert(place, Part(" ".join(words)))
    if not parts:
        raise InputError("give some words to search for")
    return tuple(parts)


def format_query(parts: Sequence[Part]) -> str:
    """The line that `parse_query` reads back as these parts.

    Raises:
        InputError: a part is an image's file, which has no text form.
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
        number = int(match["id"])
        if not -(2**63) <= number < 2**63:
            raise InputError(f"id:{number} is no id: ids have 64 bits")
        return Part(id=number, weight=weight)
    if match["phrase"] is not None:
        return Part(re.sub(r"\\(.)", r"\1", match["phrase"], flags=re.DOTALL), weight=weight)
    return Part(match["word"], weight=weight)


def _is_plain(text: str) -> bool:
    return '"' not in text and len(text) <= MAX_LENGTH and parse_query(text) == (Part(text),)


def _term(part: Part) -> str:
    size = abs(part.weight)
    weight = "" if size == 1 else f"{format(Decimal(repr(size)), 'f')}*"
    sign = "-" if part.weight < 0 else ""
    if part.id is not None:
        return f"{sign}{weight}id:{part.id}"
    prefix = f"{sign}{weight}" or "+"
    if re.fullmatch(r"[^\W\d_]+", part.text):
        return prefix + part.text
    escaped = part.text.replace("\\", "\\\\").replace('"', '\\"')
    return f'{prefix}"{escaped}"'
