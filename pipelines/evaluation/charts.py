"""The two charts of a report: how well each class is found, and the rank of the first right answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .query_set import Task

# Up to _MAX_OPEN classes are all drawn. With more, the _ENDS best and worst are drawn, and _MAX_FOLDED are folded.
_MAX_OPEN, _ENDS, _MAX_FOLDED = 40, 15, 500
_RANKS = (1, 5, 10, 20, 50, 100, 1000)


class Bar(NamedTuple):
    """One row of a bar chart: a label and, for each model, a share in 0..1 (None: the model has no such row)."""

    label: str
    shares: list[float | None]


class Chart(NamedTuple):
    """The bars of a chart: `first` and `last` are drawn, `between` is folded, and `left_out` rows are not shown.

    zero: labels of the rows whose shares are all 0; these are listed, not drawn.
    """

    first: list[Bar]
    between: list[Bar]
    last: list[Bar]
    left_out: int
    zero: list[str]


def class_chart(tasks: Sequence[Task | None]) -> Chart:
    """Return the mAP@10 of each class, sorted by the first model, best class first."""
    first = next(task for task in tasks if task is not None)
    order = sorted(first.groups, key=lambda label: (-first.groups[label], label))
    bars = [Bar(label, [task.groups.get(label) if task else None for task in tasks]) for label in order]
    zero = [bar.label for bar in bars if not any(bar.shares)]
    bars = [bar for bar in bars if any(bar.shares)]
    if len(bars) <= _MAX_OPEN:
        return Chart(bars, [], [], 0, zero)
    between = bars[_ENDS:-_ENDS]
    return Chart(bars[:_ENDS], between[:_MAX_FOLDED], bars[-_ENDS:], max(0, len(between) - _MAX_FOLDED), zero)


def rank_chart(tasks: Sequence[Task | None]) -> list[Bar]:
    """Return the share of queries whose first relevant answer has a rank in each range; empty ranges are left out."""
    most = max(task.candidates for task in tasks if task is not None)
    ends = [*(rank for rank in _RANKS if rank < most), most]
    bars = []
    for low, high in zip([1, *(end + 1 for end in ends)], ends, strict=False):
        ranks = [np.array(task.first_ranks) if task else None for task in tasks]
        shares = [None if own is None else float(np.mean((own >= low) & (own <= high))) for own in ranks]
        bars.append(Bar(f"{low:,}" if low == high else f"{low:,}–{high:,}", shares))
    return [bar for bar in bars if any(bar.shares)]
