"""Read dates, as people and programs write them, as milliseconds since 1970.

The milliseconds are those of the wall clock, or of UTC if the text has an offset.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache

# Milliseconds if the day comes first, and if the month comes first; None where that is no date. Often both are equal.
Reading = tuple[int | None, int | None]

_NEITHER: Reading = (None, None)
_EPOCH, _MILLISECOND = datetime(1970, 1, 1), timedelta(milliseconds=1)
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
# The usual ISO and EXIF forms. `fromisoformat` reads a million of them in one second; `_ANY` takes five.
_PLAIN = re.compile(r"\d{4}([-/:])\d\d\1\d\d(?:[T ]\d\d:\d\d(?::\d\d)?)?", re.ASCII)
_ANY = re.compile(
    r"""(?:
    (?P<year>\d{4})(?P<mark>[-/:.])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})
    |(?P<first>\d{1,2})(?P<sign>[-/.])(?P<second>\d{1,2})(?P=sign)(?P<last>\d{4})
    |(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\ +)?
     (?:(?P<before>\d{1,2})(?:st|nd|rd|th)?[ -])?(?P<name>[a-z]{3,9})\.?(?:\ (?P<behind>\d{1,2})(?:st|nd|rd|th)?)?
     (?:,?\ |-)(?P<end>\d{4})
    )(?:(?:t|,?\ +)(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second_>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?
     (?:\ ?(?P<half>[ap])m)?(?:\ ?(?P<zone>z|utc|gmt|(?P<ahead>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?))?)?""",
    re.VERBOSE | re.ASCII | re.IGNORECASE,
)
_PERIOD = re.compile(r"\d{4}(-\d\d)?", re.ASCII)
_RANGE = range((datetime.min - _EPOCH) // _MILLISECOND, (datetime.max - _EPOCH) // _MILLISECOND + 1)


@lru_cache(1 << 15)  # days repeat
def read_date(text: str) -> Reading:
    """Read a date, with or without a time of day; (None, None) for any other text and for days that do not exist.

    `01/02/2020` and `01-02-2020` have two readings, `31/12/2020` and `01.02.2020` only the one with the day first.
    A year has four digits, a month may have its English name.
    """
    text = text.strip()
    try:
        if _PLAIN.fullmatch(text):
            moment = (datetime.fromisoformat(f"{text[:4]}-{text[5:7]}-{text[8:]}") - _EPOCH) // _MILLISECOND
            return moment, moment
        match = _ANY.fullmatch(text)
        if match is None:
            return _NEITHER
        time = _time_of_day(match)
    except ValueError:
        return _NEITHER
    year, day_first, month_first = _readings(match)
    return _moment(year, *day_first, time), _moment(year, *month_first, time)


def read_moment(text: str) -> int | None:
    """Read a date that has one reading only; `2019` and `2019-05` are the start of that period. None for other text."""
    if _PERIOD.fullmatch(text):
        text = f"{text}-01-01"[:10]
    day_first, month_first = read_date(text)
    return day_first if day_first == month_first else day_first if month_first is None else None


def _readings(match: re.Match[str]) -> tuple[int, tuple[int, int], tuple[int, int]]:
    """Return the year, and month and day in both readings. 0 stands for a number that is missing."""
    year = int(match["year"] or match["last"] or match["end"])
    if match["year"]:
        month, day = int(match["month"]), int(match["day"])
    elif match["name"]:
        name, days = match["name"].lower(), [day for day in (match["before"], match["behind"]) if day]
        month = next((number for number, known in enumerate(_MONTHS, 1) if known.startswith(name)), 0)
        day = int(days[0]) if len(days) == 1 else 0
    else:
        first, second = int(match["first"]), int(match["second"])
        return year, (second, first), (0, 0) if match["sign"] == "." else (first, second)
    return year, (month, day), (month, day)


def _moment(year: int, month: int, day: int, time: int) -> int | None:
    try:
        moment = (datetime(year, month, day) - _EPOCH) // _MILLISECOND + time
    except ValueError:
        return None
    return moment if moment in _RANGE else None


def _time_of_day(match: re.Match[str]) -> int:
    """Return the milliseconds since midnight. They are in UTC if the text has an offset, and can then be negative.

    Raises:
        ValueError: there is no such time.
    """
    if not match["hour"]:
        return 0
    hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second_"] or 0)
    if match["half"]:
        if not 1 <= hour <= 12:
            raise ValueError
        hour = hour % 12 + 12 * (match["half"] in "pP")
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError
    if match["ahead"]:
        hours, minutes = int(match["hours"]), int(match["minutes"] or 0)
        if hours > 23 or minutes > 59:
            raise ValueError
        minute -= int(match["ahead"] + "1") * (60 * hours + minutes)
    return ((hour * 60 + minute) * 60 + second) * 1000 + int(f"{match['fraction'] or 0:0<3}"[:3])
