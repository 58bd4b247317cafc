"""Dates in everyday words ("May 2021", "last year"): offered to the user as filters, never applied unasked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, timedelta
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

_SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "winter": 12}  # first months; winter ends in the next year
_YEAR = r"(?:19|20)\d\d"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_UNSPACED = ("ja", "ko", "zh")


class Offer(NamedTuple):
    """A date that a line may mean.

    words: the words for the date, as in the line.
    term: the date in the query language, `taken:2021-05`.
    rest: the line without the words.
    """

    words: str
    term: str
    rest: str

    @property
    def line(self) -> str:
        """The line without the words, followed by the term."""
        return f"{self.rest} {self.term}".strip()


def offer_dates(line: str, language: str, today: date) -> Offer | None:
    """Return the date that a line of the query language may mean; None without one, or if it already has a date.

    Args:
        language: the language of the line, in addition to English: `de`, `zh-TW`.
        today: the date that "last year" refers to.
    """
    if "taken:" in line:
        return None
    code = language[:2].lower()
    codes = dict.fromkeys((code if code in _words() else "en", "en"))
    for pattern, read in chain.from_iterable(zip(*map(_patterns, codes), strict=True)):
        for match in pattern.finditer(line):
            days = "" if line.count('"', 0, match.start()) % 2 else read(match, today)
            if days:
                rest = f"{line[: match.start()]} {line[match.end() :]}"
                return Offer(match["words"].strip(), f"taken:{days}", " ".join(rest.split()))
    return None


@cache
def _words() -> dict[str, dict[str, str]]:
    words: dict[str, dict[str, str]] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return words


_Read = Callable[[re.Match[str], date], str]


@cache
def _patterns(code: str) -> tuple[tuple[re.Pattern[str], _Read], ...]:
    """The patterns of one language, the most precise first, each with a function that reads a match."""
    words, months = _words()[code], _months(code)
    spaced = code not in _UNSPACED
    start, end, gap = (r"(?<!\w)", r"(?!\w)", r"\s+") if spaced else ("", "", r"\s*")
    names = "|".join(sorted(map(re.escape, months), key=len, reverse=True))
    month = rf"(?P<month>{names})\.?"
    season = "|".join(f"(?P<{name}>{words[name]})" for name in _SEASONS)
    year = rf"(?<!\d)(?P<year>{_YEAR})(?!\d)" + (rf"(?:\s*(?:{words['after']}){end})?" if words["after"] else "")
    between = rf"(?:{gap}(?:{words['between']}))?,?{gap}" if words["between"] else rf",?{gap}"
    day = rf"(?<!\d)(?P<day>{_DAY})(?:st|nd|rd|th|er|\.|日|일)?"

    def pattern(meant: str) -> re.Pattern[str]:
        before = rf"(?:(?:{words['before']}){gap})?" if words["before"] else ""
        return re.compile(rf"{start}{before}(?P<words>{meant}){end}", re.IGNORECASE)

    def read_month(match: re.Match[str], today: date) -> str:
        return f"{match['year']}-{months[match['month'].lower()]:02}"

    def read_day(match: re.Match[str], today: date) -> str:
        try:
            return date(int(match["year"]), months[match["month"].lower()], int(match["day"])).isoformat()
        except ValueError:
            return ""

    return (
        (pattern(rf"{day}{gap}(?:de{gap})?{month}{between}{year}"), read_day),
        (pattern(rf"{month}{gap}{day},?{gap}{year}"), read_day),
        (pattern(rf"{year}{gap}{month}{gap}{day}"), read_day),
        (pattern(f"{month}{between}{year}"), read_month),
        (pattern(f"{year}{between}{month}"), read_month),
        (pattern(f"(?:{season}){between}{year}"), _read_season),
        (pattern(f"{year}{between}(?:{season})"), _read_season),
        *((pattern(words[name]), _relative(name)) for name in words if name.startswith(("this_", "last_"))),
        *((pattern(words[name]), _relative(name)) for name in ("today", "yesterday")),
        (pattern(year), _read_year),
    )


def _months(code: str) -> dict[str, int]:
    """The names of the months in a language, in all their forms, in lower case."""
    from babel import Locale

    known = Locale.parse(code).months
    forms = [known[context][width] for context in ("format", "stand-alone") for width in ("wide", "abbreviated")]
    names = {name.lower().rstrip("."): number for form in forms for number, name in form.items()}
    return {"sept": 9, **names}


def _read_year(match: re.Match[str], today: date) -> str:
    return match["year"] if int(match["year"]) <= today.year else ""


def _read_season(match: re.Match[str], today: date) -> str:
    year, first = int(match["year"]), next(month for name, month in _SEASONS.items() if match[name])
    return f"{year}-{first:02}..{year + (first == 12)}-{(first + 1) % 12 + 1:02}"


def _relative(name: str) -> _Read:
    kind, _, unit = name.rpartition("_")

    def read(match: re.Match[str], today: date) -> str:
        back = kind == "last"
        if unit == "year":
            return str(today.year - back)
        if unit == "month":
            return (today.replace(day=1) - timedelta(days=int(back))).isoformat()[:7]
        if unit == "week":
            monday = today - timedelta(days=today.weekday() + 7 * back)
            return f"{monday}..{monday + timedelta(days=6)}"
        return str(today - timedelta(days=int(unit == "yesterday")))

    return read
