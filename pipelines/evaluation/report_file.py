"""The file that `--report` names: refused before anything is measured, written in one piece afterwards."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..errors import InputError


class ReportFile:
    """A file to be written once, at the end.

    Raises:
        InputError: it cannot be written there.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path).expanduser()
        self._target = Path(os.path.realpath(self._path))
        self._aside = self._target.with_name(f".{self._target.name}.{os.getpid()}.part")
        if self._target.is_dir():
            raise self._unwritable("it is a folder")
        self._write_aside("")
        self._aside.unlink()

    def write(self, text: str) -> None:
        """Written aside and renamed, so that an earlier report stays whole until then."""
        self._write_aside(text)
        try:
            os.replace(self._aside, self._target)
        except OSError as error:
            raise self._unwritable(error.strerror or str(error)) from error
        print(f"report: {self._path}", file=sys.stderr)

    def _write_aside(self, text: str) -> None:
        try:
            # A path that is not UTF-8 keeps its bytes as \xNN.
            self._aside.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            self._aside.unlink(missing_ok=True)
            raise self._unwritable(error.strerror or str(error)) from error

    def _unwritable(self, reason: str) -> InputError:
        return InputError(f"--report {self._path}: {reason}; name a file in a folder that can be written")
