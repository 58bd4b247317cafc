"""Fixtures for the tests of sources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def csv_of(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a CSV; text is UTF-8."""

    def write(content: str | bytes, name: str = "photos.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
