"""The whole insert run over hostile files; `make bench-files` does the same with 2,000 good ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.hostile import run


@pytest.mark.slow
def test_hostile_and_odd_files_cost_no_good_one_and_each_bad_one_has_its_reason(tmp_path: Path) -> None:
    outcome = run(tmp_path, good=100)
    assert outcome.mistakes == []
    assert outcome.odd + outcome.bad == 200
    assert len(outcome.reasons) == outcome.bad > 100
    assert max(map(len, outcome.reasons)) < 200
    assert not [reason for reason in outcome.reasons if "\n" in reason or "Error" in reason or "0x" in reason]
    print(f"{outcome.seconds:.1f} s, peak memory {outcome.peak_mb} MB")
    assert outcome.peak_mb < 1500
