"""Reads a source for tests: its rows, or the line that refuses it."""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import InputError
from pipelines.sources import open_source
from pipelines.sources.source import Row


def rows_of(source: str | os.PathLike[str], chunk: int = 1000, **options: Any) -> list[Row]:
    """Return all rows, read in chunks of this size."""
    return list(chain.from_iterable(open_source(source, **options).chunks(chunk)))


def refusal(path: Path) -> str:
    """Return the one line that refuses a source."""
    with pytest.raises(InputError) as caught:
        open_source(path)
    message = str(caught.value)
    assert "\n" not in message
    assert os.fspath(path) in message
    return message.replace(os.fspath(path), "FILE")
