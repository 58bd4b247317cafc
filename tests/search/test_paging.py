"""Consecutive pages."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.query import Part, Query
from pipelines.search.paging import collect_page

quick = settings(max_examples=150, deadline=None)


@quick
@given(st.lists(st.integers(0, 4), max_size=60), st.integers(1, 7), st.integers(0, 10_000), st.booleans())
def test_pages_neither_repeat_nor_skip(levels: list[int], limit: int, seed: int, cut: bool) -> None:
    """Many rows have equal scores and come in a different order each time, as from an engine that is asked for more."""
    stored = [[number, level / 4] for number, level in enumerate(levels)]
    shuffled = random.Random(seed)

    def ask(count: int) -> list[list[Any]]:
        return sorted(stored, key=lambda row: (-row[1], shuffled.random()))[:count]

    minimum = 0.5 if cut else None
    wanted = [row for row in sorted(stored, key=lambda row: (-row[1], row[0])) if minimum is None or row[1] >= minimum]
    seen: list[list[Any]] = []
    for offset in range(0, len(stored) + limit, limit):
        page = collect_page(ask, Query((Part("a"),), limit, offset, min_score=minimum), 0)
        seen += page.rows
        assert page.has_more == (len(seen) < len(wanted))
    assert seen == wanted
