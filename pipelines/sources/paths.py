"""What a cell of the column `path` means: a local path, relative or absolute, or an address."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable

from ..fetch.read import is_remote, local_path


def absolute_in(base: str) -> Callable[[str], str]:
    """A function from cells to absolute paths and addresses; '' stays ''.

    Args:
        base: the folder that relative paths start from, or the address of the CSV that holds them.
    """
    return _in_address(base) if is_remote(base) else _in_folder(base)


def _in_folder(base: str) -> Callable[[str], str]:
    start = os.path.join(base, "")

    def absolute(path: str) -> str:
        if "://" in path:
            if is_remote(path):
                return path
            path = local_path(path)
        if path[:1] in ("~", "/", "") or os.name == "nt":  # a million rows: the rest needs no look at the disk's rules
            return os.path.normpath(os.path.join(start, os.path.expanduser(path))) if path else ""
        return os.path.normpath(start + path)

    return absolute


def _in_address(url: str) -> Callable[[str], str]:
    scheme, _, rest = url.partition("?")[0].partition("://")
    host, _, below = rest.partition("/")
    folder = posixpath.dirname(f"/{below}")

    def absolute(path: str) -> str:
        if not path or is_remote(path):
            return path
        return f"{scheme}://{host}{posixpath.normpath(posixpath.join(folder, path))}"

    return absolute
