"""A long CSV on a small machine: it goes through, and memory does not grow with it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.memory import draw, measure


def test_20_000_rows_go_through_in_the_memory_of_2_000(tmp_path: Path) -> None:
    """Towhee's own scheduler hangs on this many rows with this many steps (6 threads on 2 cores)."""
    paths = draw(tmp_path, 200)
    paths[13].write_bytes(b"one bad picture")
    short, long = measure(tmp_path, 2_000, paths), measure(tmp_path, 20_000, paths)
    print(f"peak memory: {short['peak']:.0f} MB for 2,000 rows, {long['peak']:.0f} MB for 20,000")
    assert short["inserted"] == 1_990
    assert long["inserted"] == 19_900
    assert long["peak"] < 1.15 * short["peak"]
