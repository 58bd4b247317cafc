"""The forecast for many rows lies on the line through two measurements."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.forecast import forecast


def size(rows: int) -> dict[str, Any]:
    """Return linear figures: 100 MB plus 3 kB a row for HNSW, an hour of one core for 1,000 rows, and so on."""
    work = {"client": 0.6 * rows, "server": 3.0 * rows}
    nothing = {"client": 0.0, "server": 0.0}
    return {
        "rows": rows, "files": rows / 512,
        "work": {"import by upsert": work, "index hnsw": nothing, "import by bulk load": nothing,
                 "index hnsw of bulk load": {"client": 0.0, "server": 1.8 * rows}},
        "memory": {"HNSW": 100 + rows * 3 / 1024, "IVF_SQ8": 100 + rows / 1024},
        "answers": {"8": {"page": 7.0, "server": 1 + rows / 1000}},
    }  # fmt: skip


@pytest.fixture
def lines() -> dict[str, str]:
    """Return the last column for a million rows, measured at 1,000 and 4,000, on machines of 1 GB and two cores."""
    figures = {"embed": 0.036, "sizes": [size(1000), size(4000)]}
    cells = [row.strip("| ").split("|") for row in forecast(figures, 1_000_000, 1, 2).splitlines()[2:]]
    return {name.strip(): value.strip() for name, _, value in cells}


def test_memory_and_work_grow_with_the_rows(lines: dict[str, str]) -> None:
    assert lines["vectors as files"] == "1.91 GB"
    assert lines["embed, hours of one core"] == "10"
    assert lines["import by upsert with hnsw, hours of one core"] == "1,000"
    assert lines["import by bulk load with hnsw, hours of one core"] == "500"
    assert lines["memory of the server, hnsw"] == "2.96 GB"
    assert lines["machines of 1 GB for that, hnsw"] == "5"  # seven tenths of each are usable
    assert lines["machines of 1 GB for that, ivf_sq8"] == "2"


def test_a_search_costs_the_server_in_proportion_and_the_page_always_the_same(lines: dict[str, str]) -> None:
    assert lines["a search: ms of processor time of the page"] == "7"
    assert lines["a search: ms of processor time of the server, hnsw"] == "1,001"
    assert lines["searches a second by these machines, 2 cores each, hnsw"] == "6.99"
