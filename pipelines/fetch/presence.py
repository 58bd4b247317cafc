"""Tell whether a file is gone or only cannot be seen now: on a disk, on the web or in an object store."""

from __future__ import annotations

import os
import stat
from functools import lru_cache

from ..errors import MissingFile, UnreadableFile
from .read import is_remote, is_web, open_store, store_errors

GONE, PRESENT = "gone", "present"
UNMOUNTED = "their disk may not be mounted"
_UNLISTABLE = "cannot be listed"
_NOT_THERE = (FileNotFoundError, NotADirectoryError)


def is_unlistable(state: str) -> bool:
    """Whether a file cannot be seen because its folder cannot be listed."""
    return _UNLISTABLE in state


class Presence:
    """Looks for files. Caches the folders that it lists, so each run makes a new one. Threads can share it.

    Args:
        allow_private: also connect to servers at private, loopback and link-local addresses.
    """

    def __init__(self, allow_private: bool = False) -> None:
        self._allow_private = allow_private
        self._unlistable = lru_cache(10_000)(_why_unlistable)
        self._names = lru_cache(64)(_names_in_store)

    def look(self, path: str) -> tuple[str, int]:
        """Return GONE, PRESENT or why it is neither, and the st_dev of the file or of the folder that lacks it.

        The st_dev is -1 if it is unknown. The folder is the deepest one above the file that still exists.
        """
        try:
            return self._look_remote(path) if is_remote(path) else self._look_local(path)
        except UnreadableFile as error:
            return str(error), -1
        except PermissionError as error:
            return f"{os.path.dirname(path)} {_UNLISTABLE} ({error.strerror})", -1
        except (OSError, ValueError) as error:
            return getattr(error, "strerror", None) or str(error), -1

    def _look_local(self, path: str) -> tuple[str, int]:
        try:
            return PRESENT, os.stat(path).st_dev
        except _NOT_THERE:
            folder, missing, device = _nearest_folder(path)
        if reason := self._unlistable(folder):
            return f"{folder} {_UNLISTABLE} ({reason})", -1
        try:
            found = os.lstat(missing)
        except FileNotFoundError:
            return GONE, device
        if stat.S_ISLNK(found.st_mode):
            return f"{missing} is a link that leads nowhere", -1
        return (PRESENT if missing == path else GONE), device  # gone: a file has taken the place of a folder

    def _look_remote(self, url: str) -> tuple[str, int]:
        if is_web(url):
            from .http import find

            try:
                find(url, self._allow_private)
            except MissingFile:
                return GONE, -1
            return PRESENT, -1
        filesystem, name = open_store(url)
        bucket = name.strip("/").count("/")  # number of levels that may be missing: a store has no empty folders
        for _ in range(max(bucket, 1)):
            folder = filesystem._parent(name)
            with store_errors():
                try:
                    return (PRESENT if name.strip("/") in self._names(filesystem, folder) else GONE), -1
                except FileNotFoundError:
                    name = folder
        raise UnreadableFile("its bucket is not there")


def _nearest_folder(path: str) -> tuple[str, str, int]:
    """Return the deepest existing folder above a path, the path of the entry that it lacks, and its st_dev."""
    missing, folder = path, os.path.dirname(path)
    while folder != missing:
        try:
            status = os.stat(folder)
            if stat.S_ISDIR(status.st_mode):
                return folder, missing, status.st_dev
        except _NOT_THERE:
            pass
        missing, folder = folder, os.path.dirname(folder)
    raise FileNotFoundError(0, UNMOUNTED)


def _why_unlistable(folder: str) -> str:
    try:
        os.scandir(folder).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _names_in_store(filesystem: object, folder: str) -> frozenset[str]:
    listed = filesystem.ls(folder, detail=False, refresh=True)  # type: ignore[attr-defined]
    return frozenset(str(name).strip("/") for name in listed)
