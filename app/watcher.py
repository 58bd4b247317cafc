"""Follow the changes in a source, by events of the file system and by a sweep every few minutes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import watchfiles

from pipelines.fetch.read import is_remote
from pipelines.sources.choice import IGNORE_FILE
from pipelines.sources.folder import IMAGE_SUFFIXES

# Seconds between sweeps, and between sweeps of a source that cannot be watched. A network mount sends no events, and
# the system may have no watches left.
SWEEP_SECONDS = 300.0
UNWATCHED_SECONDS = 60.0

log = logging.getLogger(__name__)


def follow(source: str, on_change: Callable[[], None], stop: Event) -> None:
    """Call a function whenever something in a source may have changed, until `stop` is set.

    Args:
        source: a folder, a CSV file or a URL. Changes of the files that a CSV lists are noticed only by sweeps.
    """
    if is_remote(source):
        while not stop.wait(SWEEP_SECONDS):
            on_change()
        return
    warned = False
    while not stop.is_set():
        try:
            for changes in _watch(source, stop):
                on_change()
                if not changes:  # a sweep; watch anew, because the folder may have been replaced
                    break
        except (OSError, RuntimeError) as error:  # no watches are left (inotify(7)), or the folder does not exist
            if not warned:
                log.warning("%s cannot be watched and is looked at once a minute: %s", source, error)
            warned = True
            stop.wait(UNWATCHED_SECONDS)
            on_change()


def _watch(source: str, stop: Event) -> Iterator[set[watchfiles.main.FileChange]]:
    """Yield sets of changes. Yield an empty set for a sweep, after SWEEP_SECONDS without changes."""
    is_folder = os.path.isdir(source)
    return watchfiles.watch(
        source if is_folder else os.path.dirname(source), recursive=is_folder, stop_event=stop, raise_interrupt=False,
        watch_filter=_is_image if is_folder else lambda change, path: path == source,
        rust_timeout=int(SWEEP_SECONDS * 1000), yield_on_timeout=True, ignore_permission_denied=True,
    )  # fmt: skip


def _is_image(change: watchfiles.Change, path: str) -> bool:
    """Whether a change concerns an image, a folder that may contain images, or an ignore file, outside of databases."""
    suffix = Path(path).suffix.lower()
    if f".db{os.sep}" in path:
        return False
    is_folder = not suffix and (os.path.isdir(path) or change == watchfiles.Change.deleted)
    return is_folder or suffix in IMAGE_SUFFIXES or Path(path).name == IGNORE_FILE
