"""Progress bars, and what Ctrl-C does while one runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from ..indexing.summary import Summary


@contextmanager
def exit_on_ctrl_c() -> Iterator[None]:
    """Exit immediately on a Ctrl-C that the body does not handle. Everything stored so far is safe."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(EXIT_INTERRUPTED)  # sys.exit would wait until the threads have finished their work


class ProgressBar:
    """One bar after another on stderr, with rate and time left. Silent when stderr is not a terminal."""

    def __init__(self, hidden: bool = False, unit: str = "images") -> None:
        self._hidden = hidden or not sys.stderr.isatty()
        self._unit = unit
        self._bar: Any = None
        self._title = ""
        self._announced_interrupt = False

    def show(self, done: int, total: int, title: str = "", **figures: float) -> None:
        """Move the bar to `done` of `total`, followed by figures. Another `title` starts the next bar."""
        if self._hidden:
            return
        if self._bar is None or title != self._title:
            self.close()
            from tqdm import tqdm

            options = {"desc": title, "leave": False} if title else {}
            self._bar = tqdm(total=total, unit=self._unit, dynamic_ncols=True, smoothing=0.1, **options)
            self._title = title
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        if figures:
            self._bar.set_postfix(figures, refresh=False)

    def show_insert(self, summary: Summary, total: int) -> None:
        """Move the bar to the progress of an insert run. After Ctrl-C, say once what the run waits for."""
        figures = {"rejected": float(summary.rejected)} if summary.rejected else {}
        self.show(summary.rows, total, "", **figures)
        if summary.interrupted and not self._announced_interrupt:
            self._announced_interrupt = True
            self.say("finishing the images in hand; press Ctrl-C again to exit immediately")

    def say(self, line: str) -> None:
        """Print a line on stderr, above the bar if there is one."""
        if self._bar is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.write(line, file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it is and start a new line below it."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
