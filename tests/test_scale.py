"""A long CSV on a small machine: it goes through, and memory does not grow with it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.memory import draw, measure


def test_20_000_rows_go_through_in_the_memory_of_2_000(tmp_path: Path) -> None:
    """Towhee's own scheduler hangs on this many rows with this many steps (6 threads on 2 cores).

    Within 15 %: most of the difference is what Milvus Lite holds of the 18,000 further rows. Pictures that pile up
    would be 250 MB. A second try, because when the allocator's peaks fall together differs from run to run.
    """
    paths = draw(tmp_path, 200)
    paths[13].write_bytes(b"one bad picture")
    ratios = []
    for attempt in ("first", "second"):
        folder = tmp_path / attempt
        folder.mkdir()
        short, long = measure(folder, 2_000, paths), measure(folder, 20_000, paths)
        assert short["inserted"] == 1_990
        assert long["inserted"] == 19_900
        ratios.append(long["peak"] / short["peak"])
        print(f"peak memory: {short['peak']:.0f} MB for 2,000 rows, {long['peak']:.0f} MB for 20,000")
        if ratios[-1] < 1.15:
            break
    assert min(ratios) < 1.15
