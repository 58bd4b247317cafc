"""Write files atomically: a reader sees the old file or the new one, never a part of it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def part_path(path: Path) -> Path:
    """Return the temporary file that `write_atomically` fills: hidden, next to `path`, and only for this thread."""
    return path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}.part")


def remove_parts(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder. No other process may be writing to it."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def write_atomically(path: Path, write: Callable[[Path], object], is_cache: bool = False) -> None:
    """Let `write` fill a temporary file, flush it to disk, and rename it to `path`.

    A failed write leaves no temporary file; a killed process leaves one. The umask decides on the file's permissions,
    even if `write` creates the file again with others.

    Args:
        is_cache: the file can be made again, so it is not flushed to disk, and only its owner may read it.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    part = part_path(path)
    try:
        with open(part, "wb") as file:
            mode = 0o600 if is_cache else os.fstat(file.fileno()).st_mode & 0o777
        write(part)
        with open(part, "rb+") as file:
            if not is_cache:
                os.fsync(file.fileno())
        os.chmod(part, mode)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write indented JSON in UTF-8 atomically. Raises as `write_atomically`, and ValueError for NaN and infinity."""
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))
