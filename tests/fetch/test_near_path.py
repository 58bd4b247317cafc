"""The message about a missing file names the file that its path nearly names."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from pipelines.errors import UnreadableImage
from pipelines.fetch.near_path import hint
from pipelines.fetch.read import read_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make the folder Photos/ with four images."""
    photos = tmp_path / "Photos"
    photos.mkdir()
    for name in ("a.JPG", unicodedata.normalize("NFD", "Übersee.jpg"), "two.jpg", "TWO.jpg"):
        (photos / name).touch()
    return tmp_path


@pytest.mark.parametrize("slip", ["Photos/a.jpg", "photos/A.jpg", "Photos/a.JPG ", "Photos\\a.JPG", "Photos /a.JPG"])
def test_a_slip_is_told_with_the_file_that_is_there(folder: Path, slip: str) -> None:
    with pytest.raises(UnreadableImage) as caught:
        read_file(folder / slip)
    assert str(caught.value) == f"no such file, but there is {folder}/Photos/a.JPG"


def test_another_unicode_form_is_told_in_words(folder: Path) -> None:
    assert "NFC or NFD" in hint(str(folder / "Photos" / unicodedata.normalize("NFC", "Übersee.jpg")))


@pytest.mark.parametrize("path", ["Photos/b.jpg", "Photos/Two.jpg", "Pictures/a.JPG", "Photos", "b.jpg/a"])
def test_no_file_or_several_are_no_hint(folder: Path, path: str) -> None:
    assert hint(str(folder / path)) == ""
    assert hint("nowhere") == hint("") == ""


def test_a_file_that_comes_later_is_seen(folder: Path) -> None:
    os.utime(folder / "Photos", (1, 1))  # an old time, because the clock of file systems ticks slowly
    assert hint(f"{folder}/photos/new.jpg") == ""
    (folder / "Photos" / "NEW.jpg").touch()
    assert hint(f"{folder}/photos/new.jpg") == f", but there is {folder}/Photos/NEW.jpg"
