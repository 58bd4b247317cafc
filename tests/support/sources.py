"""The rows of a source, for tests."""

from __future__ import annotations

import os
from itertools import chain
from typing import Any

from pipelines.sources import open_source
from pipelines.sources.source import Row


def rows_of(source: str | os.PathLike[str], chunk: int = 1000, **options: Any) -> list[Row]:
    """All rows, read in chunks of a size."""
    return list(chain.from_iterable(open_source(source, **options).chunks(chunk)))
