"""Bar charts as numbers, which the page's template draws: one row for each class or rank, one bar for each model."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..results import Task

LABEL_COLUMNS = 22
# Up to so many classes are drawn openly; of more, the best and the worst, and those between are folded away.
_OPEN = 40
_ENDS = 15
_FOLDED = 500
_RANKS = (1, 5, 10, 20, 50, 100, 1000)


class Row(NamedTuple):
    """A label, cut to its place, in full, and a share in 0..1 for each model (None: it has no such class)."""

    label: str
    full: str
    shares: list[float | None]


class Chart(NamedTuple):
    """`first` and `last` are drawn openly; `between` is folded, and `left_out` rows of it are not drawn at all."""

    first: list[Row]
    between: list[Row]
    last: list[Row]
    left_out: int


def class_chart(tasks: Sequence[Task | None]) -> Chart:
    """mAP@10 by class, the first model's best class first."""
    first = next(task for task in tasks if task is not None)
    order = sorted(first.groups, key=lambda label: (-first.groups[label], label))
    rows = [Row(cut(label), label, [task.groups.get(label) if task else None for task in tasks]) for label in order]
    if len(rows) <= _OPEN:
        return Chart(rows, [], [], 0)
    between = rows[_ENDS:-_ENDS]
    return Chart(rows[:_ENDS], between[:_FOLDED], rows[-_ENDS:], max(0, len(between) - _FOLDED))


def rank_chart(tasks: Sequence[Task | None]) -> Chart:
    """Share of the queries whose first right answer has such a rank."""
    most = max(task.candidates for task in tasks if task is not None)
    ends = [*(rank for rank in _RANKS if rank < most), most]
    starts = [1, *(end + 1 for end in ends[:-1])]
    rows = []
    for low, high in zip(starts, ends, strict=True):
        label = f"{low:,}" if low == high else f"{low:,}–{high:,}"
        rows.append(Row(label, label, [_share_within(task, low, high) if task else None for task in tasks]))
    return Chart(rows, [], [], 0)


def _share_within(task: Task, low: int, high: int) -> float:
    ranks = np.array(task.first_ranks)
    return float(np.mean((ranks >= low) & (ranks <= high)))


def cut(text: str, columns: int = LABEL_COLUMNS) -> str:
    """At most so many columns of a terminal's grid (Chinese and Japanese signs take two), '…' where it was cut."""
    text = " ".join(text.split())
    widths = np.cumsum([2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text] or [0])
    return text if widths[-1] <= columns else text[: int(np.searchsorted(widths, columns))] + "…"
