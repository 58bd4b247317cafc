"""The peers' benchmark: what it does with a peer that fails, hangs or is absent, and how it renders its findings."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from benchmarks.peers.__main__ import Bench, Peer
from benchmarks.peers.driver import EVENT, Job
from benchmarks.peers.images import add_bad, collect
from benchmarks.peers.process import run_driver
from benchmarks.peers.table import Row, percentile, render


def findings_of(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str, seconds: float = 20) -> dict[str, object]:
    (folder / "a_driver.py").write_text(script)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return run_driver(sys.executable, "a_driver", Job("index", "", str(folder / "store"), ""), seconds)


def test_findings_before_a_failure_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = EVENT + json.dumps({"images": 3})
    found = findings_of(tmp_path, monkeypatch, f"print({line!r})\nraise ValueError('no such\\nfile')")
    assert found["images"] == 3
    assert found["error"] == "ValueError: no such"


def test_a_peer_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.time()
    found = findings_of(tmp_path, monkeypatch, "import time\ntime.sleep(60)", seconds=0.5)
    assert time.time() - start < 10
    assert found["error"] == "stopped: not done after 0 s"


def test_an_absent_peer_is_listed_with_the_reason(tmp_path: Path) -> None:
    table = render([Bench(tmp_path, minutes=1).measure(Peer("some peer", "nothing", ".venv-not-there"))])
    assert "| some peer" in table
    assert "some peer: not run. It could not be installed: there is no .venv-not-there" in table


def test_the_table_says_what_was_found() -> None:
    row = Row("peer", good=6)
    row.findings["index"] = {"version": "1.2", "images": 100, "seconds": 5.0, "seconds_again": 4.9, "peak_mb": 900.0}
    row.findings["search"] = {"started": 10.0, "first_result": 14.5, "latencies": [0.02] * 19 + [0.5], "peak_mb": 950.0}
    row.findings["bad"] = {"bad_stored": 6}
    cells = row.cells()
    assert cells == ("peer 1.2", "100", "20", "4.5", "950", "20 / 20", "yes", "yes (98% of the first run's time)")
    row.findings["bad"] = {"bad_stored": 2, "bad_error": "OSError: truncated"}
    assert row.cells()[6] == "no (2 of 6 good ones stored)"
    assert "- peer, with broken images: OSError: truncated" in render([row])


def test_what_was_not_tried_is_no_answer() -> None:
    row = Row("peer", {"bad": {"skipped": "not started, the 2 minutes were over"}}, good=6)
    assert row.cells()[6] == "–"
    row.findings["bad"] = {"error": "stopped: not done after 60 s"}
    assert row.cells()[6] == "not done in time"


def test_percentile_is_the_nearest_rank() -> None:
    values = [float(n) for n in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.95), percentile([7.0], 0.95)) == (50.0, 95.0, 7.0)


def test_two_broken_images_lie_among_good_ones(tmp_path: Path) -> None:
    assert collect("", tmp_path / "all", 8) == 8
    assert add_bad(tmp_path / "all", tmp_path / "bad") == 6
    names = sorted(path.name for path in (tmp_path / "bad").glob("*.jpg"))
    assert [names.index("00003a-truncated.jpg"), names.index("00003b-page.jpg")] == [4, 5]
