"""Write files atomically: whoever reads one sees the old file or the new one, never a part of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def part_path(path: Path) -> Path:
    """Return the temporary file that `write_atomically` fills: hidden, in the same folder as `path`."""
    return path.with_name(f".{path.name}.part")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, flush it to disk, and rename it to `path`.

    A failed write leaves no temporary file; a killed process leaves one, which the next write replaces.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    part = part_path(path)
    try:
        write(part)
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write indented JSON in UTF-8 atomically. Raises as `write_atomically`."""
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))
