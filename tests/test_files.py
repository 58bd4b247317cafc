"""Files are written atomically: `pipelines.files`."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.files import part_path, remove_parts, write_atomically, write_json


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


@pytest.fixture(params=[0o022, 0o002, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_new_file_is_as_readable_as_the_umask_says(umask: int, tmp_path: Path) -> None:
    def replace_by_a_private_file(part: Path) -> None:  # as safetensors does
        descriptor, name = tempfile.mkstemp(dir=tmp_path)
        os.close(descriptor)
        os.replace(name, part)

    for write in (lambda part: part.write_text("x"), replace_by_a_private_file):
        write_atomically(tmp_path / "a", write)
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~umask
    write_atomically(tmp_path / "b", lambda part: part.write_text("x"), is_cache=True)
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o600


def test_threads_that_write_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    target, together = tmp_path / "a", threading.Barrier(2, timeout=30)

    def write(text: str) -> None:
        def fill(part: Path) -> None:
            part.write_text(text)
            together.wait()  # both have written before one of them renames
            assert part.read_text() == text

        write_atomically(target, fill)
        finished.append(text)

    finished: list[str] = []
    threads = [threading.Thread(target=write, args=[text]) for text in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(finished) == ["one", "two"]
    assert target.read_text() in finished
    assert list(tmp_path.iterdir()) == [target]


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".model.safetensors.1234-1.part").touch()
    (tmp_path / "mine.part").touch()
    remove_parts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.part"]


def test_json_never_holds_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())
