"""Where an evaluation goes, to the terminal as tables or as JSON; and the bars while it runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from .published import Comparison, compare
from .results import Evaluation


class ProgressBars:
    """One bar after the other on stderr, with rate and time left; nothing where nobody watches."""

    def __init__(self, hidden: bool = False) -> None:
        self._hidden = hidden or not sys.stderr.isatty()
        self._bar: Any = None

    def __enter__(self) -> ProgressBars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def start(self, what: str, total: int) -> Callable[[int], object]:
        """Begins the next bar; what it returns moves it on."""
        self._close()
        if self._hidden:
            return lambda steps: None
        from tqdm import tqdm

        self._bar = tqdm(desc=what, total=total, dynamic_ncols=True, leave=False)
        return self._bar.update

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def comparisons(evaluations: Sequence[Evaluation], published: str) -> list[Comparison]:
    """The evaluations beside the published figures of their models, where there are some."""
    if not published:
        return []
    found = [compare(evaluation, published) for evaluation in evaluations]
    return [comparison for comparison in found if comparison is not None and comparison.differences]


def print_evaluations(evaluations: Sequence[Evaluation], published: str, as_json: bool) -> None:
    """To stdout, as tables or as JSON."""
    beside = comparisons(evaluations, published)
    if as_json:
        values = {
            "evaluations": [evaluation.as_json() for evaluation in evaluations],
            "published": [item.as_json() for item in beside],
        }
        print(json.dumps(values, ensure_ascii=False, indent=2))
        return
    from .report_text import render

    print(render(evaluations, beside))
    if published and not beside:
        print(f"\nnote: no published figures for {', '.join(item.title for item in evaluations)} on {published}")
