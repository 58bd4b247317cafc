"""Find the file that a slightly wrong path probably means, to name it after "no such file"."""

from __future__ import annotations

import os
import unicodedata
from functools import lru_cache


def hint(path: str) -> str:
    """Return ', but …' if exactly one file's path differs from this one only in details, else ''.

    Details are upper and lower case, blanks at the ends of names, Windows backslashes, and accented letters, which
    macOS writes as two characters. The file is named but not used: another path would be another row.
    """
    near = _near(path)
    if near is None:
        return ""
    if unicodedata.normalize("NFC", near) == unicodedata.normalize("NFC", path):
        return ", but one of this name in other Unicode characters (NFC or NFD) is there"
    return f", but there is {near}"


def _near(path: str) -> str | None:
    found, missing = path.replace("\\", "/"), []
    while not os.path.isdir(found):
        found, name = os.path.split(found)
        if not name:
            return None
        missing.append(name)
    for name in reversed(missing):
        try:
            names = _names(found, os.stat(found).st_mtime_ns).get(_overlooked(name), [])
        except OSError:
            return None
        if len(names) != 1:
            return None
        found = os.path.join(found, names[0])
    return found if os.path.isfile(found) else None


def _overlooked(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().strip()


@lru_cache(maxsize=16)
def _names(folder: str, changed: int) -> dict[str, list[str]]:
    """The names in a folder by their normalised form. Cached: all files of a CSV may be missing from one folder."""
    names: dict[str, list[str]] = {}
    for name in os.listdir(folder):
        names.setdefault(_overlooked(name), []).append(name)
    return names
