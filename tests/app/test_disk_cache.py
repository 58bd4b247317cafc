"""The folder of thumbnails stays within its size limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.disk_cache import DiskCache


def test_what_was_not_used_for_longest_goes(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 100, ".webp")
    for key in ("aa1", "ab2", "ac3"):
        cache.put(key, bytes(30))
    assert cache.get("aa1") == bytes(30)
    cache.put("ad4", bytes(30))
    assert [cache.get(key) is not None for key in ("aa1", "ab2", "ac3", "ad4")] == [True, False, True, True]
    assert cache.size == 90
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.webp")) == 90


def test_what_an_earlier_run_left_counts(tmp_path: Path) -> None:
    DiskCache(tmp_path, 100, ".webp").put("aa1", bytes(60))
    cache = DiskCache(tmp_path, 100, ".webp")
    assert cache.size == 60
    cache.put("ab2", bytes(60))
    assert cache.get("aa1") is None
    assert cache.get("ab2") == bytes(60)


def test_a_folder_that_cannot_be_written_only_costs_the_cache(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    cache = DiskCache(blocked, 100, ".webp")
    cache.put("aa1", b"x")
    assert cache.get("aa1") is None


@pytest.mark.parametrize("size", [0, 101])
def test_a_file_of_any_size_is_taken(tmp_path: Path, size: int) -> None:
    cache = DiskCache(tmp_path, 100, ".webp")
    cache.put("aa1", bytes(size))
    assert cache.size <= 100
