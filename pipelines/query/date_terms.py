"""Dates in a line of the query language: `taken:2021-05`, `taken:2019..2021`, `-taken:2020`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta

from .filters import And, Compare, Filter, Not

_DATE = r"\d{4}(?:-\d\d(?:-\d\d)?)?"
# For use inside a pattern that matches whole words.
PATTERN = rf"[^\W\d]\w*:(?:{_DATE}(?:\.\.(?:{_DATE})?)?|\.\.{_DATE})"


def is_date_term(text: str) -> bool:
    """Return whether a text that matches PATTERN names days that exist."""
    return all(_period(day) for day in re.findall(_DATE, text.rpartition(":")[2]))


def date_filter(terms: Sequence[str]) -> Filter | None:
    """Return one filter for all these terms; None without a term.

    A year or a month stands for all its days. A range includes its last day, month or year.
    """
    operands: list[Filter] = []
    for term in terms:
        column, _, days = term.lstrip("-").partition(":")
        first, _, last = days.partition("..")
        meant = between(column, first, last if ".." in days else first)
        operands.append(Not(meant) if term.startswith("-") else meant)
    return And(tuple(operands)) if len(operands) > 1 else next(iter(operands), None)


def between(column: str, first: str, last: str) -> Filter:
    """Return a filter from the start of one day, month or year to the end of another; '' leaves that side open."""
    bounds: list[Filter] = []
    if first:
        bounds.append(Compare(column, ">=", first))
    if period := last and _period(last):
        bounds.append(Compare(column, "<", period[1]))
    return And(tuple(bounds)) if len(bounds) > 1 else bounds[0]


def _period(text: str) -> tuple[str, str] | None:
    """A day, month or year as written, and the next one; None if either does not exist."""
    try:
        first = date.fromisoformat(f"{text}-01-01"[:10])
        later = first + timedelta(days={10: 1, 7: 31, 4: 366}[len(text)])
    except (ValueError, OverflowError):  # no such day, or none after it
        return None
    return text, later.isoformat()[: len(text)]
