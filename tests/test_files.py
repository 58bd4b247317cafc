"""Files are written atomically: `pipelines.files`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.files import part_path, write_atomically


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")

    def write(part: Path) -> None:
        assert target.read_text() == "old"
        part.write_text("new")

    write_atomically(target, write)
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_write_keeps_the_old_file_and_leaves_no_part(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")

    def fail(part: Path) -> None:
        part.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(target, fail)
    assert target.read_text() == "old"
    assert not part_path(target).exists()
