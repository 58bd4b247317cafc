"""`make bench-files IMAGES=folder` finds what Pillow reads differently, and the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.compare_files import UNEXPLAINED, compare, images_below
from tests.support.images import encode, grey_ramp_16bit, hidden_colours, photograph, quadrants

FILES = {
    "a.jpg": (encode(photograph(60, 40), "JPEG"), "equal", ""),
    "b.png": (hidden_colours((255, 0, 255), "PNG"), "other pixels", "transparency"),
    "c.png": (grey_ramp_16bit(), "other pixels", "16 bits"),
    "d.tif": (encode(Image.new("F", (9, 9), 0.5), "TIFF"), "only Pillow reads", "floating-point"),
    "e.gif": (b"GIF89a", "neither reads", "a GIF damaged"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_compared_and_a_difference_explained(name: str, tmp_path: Path) -> None:
    data, what, why = FILES[name]
    (tmp_path / name).write_bytes(data)
    (tmp_path / "notes.txt").touch()
    (path,) = images_below(tmp_path)
    found = compare(path)
    assert found.what == what
    assert found.why.startswith(why)


def test_a_difference_without_a_known_reason_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(encode(quadrants(), "PNG"))
    monkeypatch.setattr("benchmarks.compare_files.decode", lambda data: np.full((80, 120, 3), 77, np.uint8))
    assert compare(str(tmp_path / "a.png")).why == UNEXPLAINED
