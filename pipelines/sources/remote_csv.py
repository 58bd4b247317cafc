"""A CSV at an address: downloaded first, because it is read twice."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress

from ..errors import InputError, UnreadableImage
from ..fetch.stores import fetch_to_file, is_web, open_store, store_reason


class RemoteCsv(os.PathLike[str]):
    """Opens as a temporary file, is called by its address in messages, and goes with the object.

    Raises:
        InputError: it cannot be downloaded.
    """

    def __init__(self, url: str, allow_private: bool = False) -> None:
        self._url = url
        try:
            self._file = fetch_to_file(url, allow_private)
        except UnreadableImage as error:
            raise InputError(f"{url} cannot be downloaded: {error}") from error
        weakref.finalize(self, _remove, self._file)

    def __fspath__(self) -> str:
        return self._file

    def __str__(self) -> str:
        return self._url


def is_store_folder(url: str) -> bool:
    """True for an address in an object store that is not a single object.

    Raises:
        InputError: the store cannot be asked.
    """
    if is_web(url):
        return False
    try:
        filesystem, name = open_store(url)
    except UnreadableImage as error:
        raise InputError(f"{url}: {error}") from error
    try:
        return not filesystem.isfile(name)
    except Exception as error:
        raise InputError(f"{url}: {store_reason(error)}") from error


def _remove(name: str) -> None:
    with suppress(OSError):
        os.unlink(name)
