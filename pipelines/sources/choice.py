"""Choose the files of a folder: none that is hidden, a thumbnail, in a recycle bin or excluded by a pattern."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from ..errors import InputError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILE = ".imagesearchignore"
# Thumbnails, recycle bins and snapshots of Synology, QNAP, Windows and macOS. Other systems' names start with a dot.
_SYSTEM_FOLDERS = frozenset({"@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "__macosx"})


class Choice(NamedTuple):
    """What to take from a folder.

    exclude: gitignore patterns for files and folders to leave out.
    include_hidden: also take hidden files and folders, thumbnails and recycle bins.
    """

    exclude: tuple[str, ...] = ()
    include_hidden: bool = False


DEFAULT_CHOICE = Choice()


class Selection:
    """Applies a choice during one walk, which calls `enter` for each folder before `takes` for the names in it.

    As in git, the user's patterns override those of ignore files, and deeper ignore files override higher ones.
    """

    def __init__(self, top: str, choice: Choice) -> None:
        self._top = top
        self._include_hidden = choice.include_hidden
        self._excluded = [(top, _parse("--exclude", choice.exclude))] if choice.exclude else []
        self._rules: dict[str, list[tuple[str, GitIgnoreSpec]]] = {}  # by folder, the deepest first
        self._hidden_count, self._excluded_count = 0, 0

    def enter(self, folder: str, ignore_file: str) -> None:
        """Read the patterns from the text of the folder's ignore file, '' if there is none.

        Raises:
            InputError: a pattern is malformed.
        """
        inherited = [] if folder == self._top else self._rules.get(os.path.dirname(folder), [])
        own = [(folder, _parse(f"{folder}/{IGNORE_FILE}", ignore_file.splitlines()))] if ignore_file else []
        if rules := own + inherited:
            self._rules[folder] = rules

    def takes(self, folder: str, name: str, is_folder: bool = False) -> bool:
        """Whether a file or folder is taken. Those that are not are counted."""
        if not self._include_hidden and (name[0] == "." or name.lower() in _SYSTEM_FOLDERS):
            self._hidden_count += 1
            return False
        for base, spec in self._excluded + self._rules.get(folder, []):
            relative = f"{folder}/{name}"[len(base) :].lstrip("/") + "/" * is_folder
            included = spec.check_file(relative).include
            if included is not None:  # this spec has a pattern for the name
                self._excluded_count += included
                return not included
        return True

    def notes(self) -> list[str]:
        """What was left out, as lines to show the user."""
        counts = {
            f"hidden files, thumbnails and bins left out: {self._hidden_count:,}; --include-hidden takes them": (
                self._hidden_count
            ),
            f"excluded files and folders: {self._excluded_count:,}": self._excluded_count,
        }
        return [note for note, count in counts.items() if count]


def _parse(where: str, patterns: list[str] | tuple[str, ...]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(patterns)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
